"""Long work that one process does at a time, while nobody waits for it: whoever finds it taken goes on with something else.

It is free again when the process that does it ends, however it ends. Work that waits for its turn: `locks.turn`.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from django.db import connection

from segmentation import presence

# The first of an advisory lock's two keys; the second is the name's checksum.
SPACE: Final = 0x71E3


def only(name: str) -> AbstractContextManager[bool]:
    """Whether this process may do the work of that name now, for as long as the context lasts."""
    return _session(name) if connection.vendor == "postgresql" else _file(name)


@contextmanager
def _session(name: str) -> Iterator[bool]:
    database = presence.own_connection()
    try:
        with database.cursor() as cursor:
            # Signed, as PostgreSQL wants it.
            key = zlib.crc32(name.encode()) - 2**31
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [SPACE, key])
            free = bool(cursor.fetchone()[0])
        yield free
    finally:
        database.close()


@contextmanager
def _file(name: str) -> Iterator[bool]:
    folder = presence.folder()
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / f"{name}.only", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)
