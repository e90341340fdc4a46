"""Which processes live. One that is killed is known to be gone at once, long before what it had claimed runs out.

Each process has a number, and something that its operating system or PostgreSQL takes from it when it ends, however it
ends: on PostgreSQL an advisory lock of a session of its own, on SQLite a locked file beside the database, because there
all processes are on one machine.
"""

from __future__ import annotations

import fcntl
import os
import random
from collections.abc import Collection
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, Protocol

import structlog
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

log = structlog.get_logger(__name__)

# The first of an advisory lock's two keys; the second is the process's number.
SPACE = 0x71E2
FOLDER = "processes"
# A session that broke is replaced at the next look.
LOOK_AGAIN = 5.0


class _Mark(Protocol):
    number: int

    def is_kept(self) -> bool: ...

    def leave(self) -> None: ...


class _Session:
    """PostgreSQL: a session that does nothing but hold a lock."""

    def __init__(self) -> None:
        self.number = _draw()
        self._database = own_connection()
        try:
            self._ask("SELECT pg_advisory_lock(%s, %s)", [SPACE, self.number])
        except (DatabaseError, InterfaceError):
            self.leave()
            raise

    def is_kept(self) -> bool:
        try:
            self._ask("SELECT 1")
        except (DatabaseError, InterfaceError):
            self.leave()
            return False
        return True

    def leave(self) -> None:
        self._database.close()

    def _ask(self, sql: str, values: list[int] | None = None) -> None:
        with self._database.cursor() as cursor:
            cursor.execute(sql, values)


class _File:
    """SQLite: a locked file, which is unlocked when the process ends."""

    def __init__(self) -> None:
        folder().mkdir(parents=True, exist_ok=True)
        for left in folder().iterdir():
            if left.name.isdecimal():
                _is_file_locked(int(left.name))
        self._draw_and_lock()
        while not self._path.exists():
            # Somebody else saw the new file before it was locked, and threw it away.
            os.close(self._file)
            self._draw_and_lock()

    def _draw_and_lock(self) -> None:
        self.number = _draw()
        self._path = folder() / str(self.number)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def is_kept(self) -> bool:
        return self._path.exists()

    def leave(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._file)


_guard = Lock()
_mark: _Mark | None = None
_owner = 0
_looked_at = float("-inf")


def mine() -> int | None:
    """This process's number. None where it cannot be shown that it lives: then only time tells that it is gone."""
    global _mark, _owner, _looked_at
    with _guard:
        if _owner != os.getpid():
            # A fork: the mark is the parent's, and stays in its hands.
            _mark, _owner, _looked_at = None, os.getpid(), float("-inf")
        if monotonic() - _looked_at >= LOOK_AGAIN:
            _looked_at = monotonic()
            if _mark is None or not _mark.is_kept():
                _mark = _new_mark()
        return _mark.number if _mark else None


def leave() -> None:
    """Give the number back; the next look draws another."""
    global _mark, _looked_at
    with _guard:
        if _mark is not None and _owner == os.getpid():
            _mark.leave()
        _mark, _looked_at = None, float("-inf")


def is_any_alive(numbers: Collection[int | None]) -> bool:
    """Whether one of these processes may live; of None nobody knows."""
    if None in numbers:
        return True
    known = {number for number in numbers if number is not None}
    if not known:
        return False
    return _is_any_locked(known) if connection.vendor == "postgresql" else any(map(_is_file_locked, known))


def _new_mark() -> _Mark | None:
    try:
        return _Session() if connection.vendor == "postgresql" else _File()
    except (DatabaseError, InterfaceError, OSError) as error:
        log.warning("presence.not_marked", error=type(error).__name__)
        return None


def _draw() -> int:
    return random.SystemRandom().randrange(1, 2**31)


def own_connection() -> BaseDatabaseWrapper:
    """A session beside the one that works; its owner closes it."""
    database = connections.create_connection(DEFAULT_DB_ALIAS)
    # A server that has gone without a word must not keep whoever looks waiting.
    patience = {"connect_timeout": 2, "tcp_user_timeout": 5000}
    options: dict[str, Any] = {**database.settings_dict.get("OPTIONS", {}), **patience}
    options.pop("pool", None)
    database.settings_dict = {**database.settings_dict, "OPTIONS": options, "CONN_MAX_AGE": None}
    database.inc_thread_sharing()
    return database


def _is_any_locked(numbers: set[int]) -> bool:
    sql = (
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND classid = %s AND objid = ANY(%s::bigint[]))"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [SPACE, sorted(numbers)])
        return bool(cursor.fetchone()[0])


def _is_file_locked(number: int) -> bool:
    """Whoever finds a file that nobody holds throws it away."""
    path = folder() / str(number)
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(file)


def folder() -> Path:
    """Beside the database of SQLite: locked files, which say who is there."""
    return Path(f"{connection.settings_dict['NAME']}-{FOLDER}")
