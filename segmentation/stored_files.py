"""Uploads and lists of rejected lines, where every machine finds them: in the database, encrypted, besides on disk.

Rows name a file by `reference`. SQLite means one machine, whose processes share its folder: nothing is stored twice.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction

from segmentation import crypto
from segmentation.models import StoredFileChunk

CHUNK_BYTES = 1024 * 1024
# Of a reference; anything else is a path on the machine where the command was given.
INSIDE = "var:"


def reference(path: Path) -> str:
    """How rows name the file; the data folder may stand elsewhere on another machine."""
    resolved, folder = path.resolve(), _folder()
    if resolved.is_relative_to(folder):
        return f"{INSIDE}{resolved.relative_to(folder).as_posix()}"
    return str(resolved)


def keep(path: Path) -> None:
    """Store a file of the data folder for the other machines, replacing what was stored under its name."""
    if connection.vendor == "sqlite":
        return
    name = reference(path).removeprefix(INSIDE)
    with path.open("rb") as file, transaction.atomic():
        StoredFileChunk.objects.filter(name=name).delete()
        for number, content in enumerate(iter(lambda: file.read(CHUNK_BYTES), b"")):
            StoredFileChunk.objects.create(name=name, number=number, content=crypto.encrypt(content))


def located(named: str) -> Path:
    """The file on this machine, fetched if it is not there yet; a path without a file when nobody has it."""
    if not named.startswith(INSIDE):
        return Path(named)
    name = named.removeprefix(INSIDE)
    path = (_folder() / name).resolve()
    if not path.is_relative_to(_folder()):
        raise ValueError(f"{named} leads out of the data folder")
    if not path.exists():
        _fetch(name, path)
    return path


def forget(folder: Path) -> None:
    """Drop what is stored of the files in a folder."""
    StoredFileChunk.objects.filter(name__startswith=f"{reference(folder).removeprefix(INSIDE)}/").delete()


def _fetch(name: str, path: Path) -> None:
    chunks = StoredFileChunk.objects.filter(name=name).order_by("number").values_list("content", flat=True)
    if not chunks.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as working:
        part = Path(working) / "part"
        with part.open("wb") as file:
            for content in chunks.iterator(chunk_size=4):
                file.write(crypto.decrypt(bytes(content)))
        part.chmod(0o600)
        # One rename: a reader never sees half a file.
        part.rename(path)


def _folder() -> Path:
    return Path(settings.VAR_DIR).resolve()
