"""Looks for words in every column of every table, whatever the database, and in stored files."""

from __future__ import annotations

import gzip
from pathlib import Path

from django.conf import settings
from django.db import connection

from segmentation import crypto
from segmentation.models import StoredFileChunk


def found(*words: str) -> list[str]:
    """Where one of the words stands, in any case: “table.column: word”."""
    hits = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            names = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                for name, value in zip(names, row, strict=True):
                    hits += [f"{table}.{name}: {word}" for word in words if _holds(value, word)]
    return sorted({*hits, *_in_files(words)})


def _holds(value, word: str) -> bool:
    if value is None:
        return False
    if isinstance(value, memoryview | bytes | bytearray):
        text = bytes(value).decode("utf-8", "replace")
    else:
        text = str(value)
    return word.casefold() in text.casefold()


def _in_files(words) -> list[str]:
    hits = []
    for path in Path(settings.VAR_DIR).rglob("*"):
        if path.is_file() and path.parts[-2] != "static" and path.suffix in {".csv", ".json", ".gz"}:
            raw = path.read_bytes()
            raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
            hits += [f"{path.name}: {word}" for word in words if _holds(raw, word)]
    for chunk in StoredFileChunk.objects.all():
        raw = crypto.decrypt(bytes(chunk.content))
        hits += [f"{chunk.name}: {word}" for word in words if _holds(raw, word)]
    return hits
