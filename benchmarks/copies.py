"""Bare writes of rows that are there already, into twins of their tables: what the database alone takes for them."""

from __future__ import annotations

from tempfile import TemporaryFile
from time import perf_counter
from typing import Any

TWIN = "bench_twin"
# Twenty million events are more than the memory holds beside everything else.
BLOCK = 1 << 22


def into_twin(model: Any, where: str = "TRUE", *, columns: list[str] | None = None) -> float:
    """Seconds to write the rows into an empty table with the same indexes; reading them is not counted."""
    from django.db import connection

    names = ", ".join(columns or [field.column for field in model._meta.concrete_fields])
    chosen = f"SELECT {names} FROM {model._meta.db_table} WHERE {where}"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {TWIN}")
        write = _postgres if connection.vendor == "postgresql" else _sqlite
        seconds = write(cursor, model._meta.db_table, names, chosen)
        cursor.execute(f"DROP TABLE {TWIN}")
    return seconds


def _postgres(cursor: Any, table: str, names: str, chosen: str) -> float:
    cursor.execute(f"CREATE TABLE {TWIN} (LIKE {table} INCLUDING ALL)")
    with TemporaryFile() as kept:
        with cursor.copy(f"COPY ({chosen}) TO STDOUT (FORMAT binary)") as copy:
            kept.writelines(copy)
        kept.seek(0)
        started = perf_counter()
        with cursor.copy(f"COPY {TWIN} ({names}) FROM STDIN (FORMAT binary)") as copy:
            while content := kept.read(BLOCK):
                copy.write(content)
        return perf_counter() - started


def _sqlite(cursor: Any, table: str, names: str, chosen: str) -> float:
    from django.db import transaction

    link = cursor.connection
    kept = link.execute(
        "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL", [table]
    ).fetchall()
    for (statement,) in kept:
        link.execute(_renamed(statement, table))
    content = [
        tuple(value if isinstance(value, int | float | str | bytes | None) else str(value) for value in row)
        for row in link.execute(chosen)
    ]
    marks = ", ".join("?" * (names.count(",") + 1))
    started = perf_counter()
    with transaction.atomic():
        link.executemany(f"INSERT INTO {TWIN} ({names}) VALUES ({marks})", content)
    return perf_counter() - started


def _renamed(statement: str, table: str) -> str:
    """CREATE TABLE or INDEX for the twin."""
    head, name, rest = statement.partition(f'"{table}"')
    if " INDEX " in head:
        verb, _, index = head.partition(" INDEX ")
        head = f'{verb} INDEX "{TWIN}_{index.split()[0].strip(chr(34))}" ON '
    return f'{head}"{TWIN}"{rest}' if name else statement
