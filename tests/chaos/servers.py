"""Databases that belong to one run of the harness, so that stopping them hurts nobody else."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import psycopg

from tests.chaos.processes import START_SECONDS, Process, free_port
from tests.chaos.proxy import Proxy

# Nobody else connects; a small log, so that the disk that is to be filled can be small.
SETTINGS = (
    "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
    "-c", "max_wal_size=96MB", "-c", "min_wal_size=32MB", "-c", "shared_buffers=64MB",
)  # fmt: skip


class Unavailable(Exception):
    """This machine has not what a cell needs; the message says what."""


class Away(Exception):
    """The database does not answer now."""


class Database(Protocol):
    vendor: str

    @property
    def url(self) -> str: ...

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]: ...

    def execute(self, sql: str) -> None: ...


class Sqlite:
    """The file itself. Read through a connection of its own for each look, as another program would."""

    vendor = "sqlite"

    def __init__(self, path: Path, origin: Path | None = None) -> None:
        self.path = path
        if origin is not None:
            shutil.copy(origin, path)

    def copy(self, path: Path) -> None:
        """What stands in it, for another to start from."""
        with closing(sqlite3.connect(self.path)) as here, closing(sqlite3.connect(path)) as there:
            here.backup(there)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            with closing(sqlite3.connect(self.path, timeout=20)) as connection:
                return connection.execute(sql.replace("%s", "?"), values).fetchall()
        except sqlite3.OperationalError as error:
            raise Away(str(error)) from error

    def execute(self, sql: str) -> None:
        with closing(sqlite3.connect(self.path, timeout=20)) as connection, connection:
            connection.execute(sql)

    def stop(self) -> None:
        """A file needs no stopping."""


class Postgres:
    """A cluster in a folder of its own, and `network` between it and the product; the oracle asks it directly.

    Needs the server's binaries; as root it runs as the user postgres.
    """

    vendor = "postgresql"

    def __init__(self, log: Path, *, place: Path | None = None, origin: Path | None = None) -> None:
        """In a new folder under `place`, or where temporary files go: the server's user must be able to reach it.

        `origin`: a folder that `copy` made, to start from.
        """
        self._bin, self._log = _postgres_binaries(), log
        self._user = "postgres" if os.getuid() == 0 else None
        self.folder = folder = Path(tempfile.mkdtemp(prefix="chaos-postgresql-", dir=place))
        self.port, self._database = free_port(), "postgres"
        if self._user:
            shutil.chown(folder, self._user)
        data = folder / "data"
        if origin is None:
            self._initialise(data)
        else:
            self._copy(origin, data)
        self._server = Process(
            "postgresql",
            [str(self._bin / "postgres"), "-D", str(data), "-p", str(self.port), *SETTINGS],
            log=log, environment={}, folder=Path("/"), user=self._user,
        )  # fmt: skip
        self.start()
        if origin is None:
            self.execute("CREATE DATABASE tierwise")
        self._database = "tierwise"
        self.network = Proxy(self.port)

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.network.port}/{self._database}"

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            with self._connect() as connection:
                return connection.execute(sql, values).fetchall()
        except psycopg.OperationalError as error:
            raise Away(str(error)) from error

    def execute(self, sql: str) -> None:
        with self._connect() as connection:
            connection.execute(sql)

    def _connect(self) -> psycopg.Connection:
        url = f"postgresql://postgres@127.0.0.1:{self.port}/{self._database}"
        return psycopg.connect(url, autocommit=True, connect_timeout=5)

    def start(self) -> None:
        """Again, if it is not there; returns when it answers. A start that dies on a full disk is tried again."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            if not self._server.alive:
                self._server.start()
            try:
                self.rows("SELECT 1")
                return
            except Away:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def copy(self, path: Path) -> None:
        """What stands in it, as a folder for another to start from; the server rests meanwhile."""
        self.stop_in_order()
        self._copy(self.folder / "data", path)
        self.start()

    def _copy(self, origin: Path, path: Path) -> None:
        shutil.copytree(origin, path)
        if self._user:
            subprocess.run(["chown", "-R", self._user, str(path)], check=True)

    def stop_at_once(self) -> None:
        """As a power cut: no checkpoint, every connection dropped, recovery from the log at the next start."""
        self._server.stop(signal.SIGQUIT)

    def stop_in_order(self) -> None:
        """As an administrator does ("fast"): whatever is under way is rolled back, every connection closed, all written."""
        self._server.stop(signal.SIGINT)

    def stop(self) -> None:
        self.network.close()
        self.stop_at_once()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _initialise(self, data: Path) -> None:
        with self._log.open("ab") as log:
            subprocess.run(
                [str(self._bin / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "-E", "UTF8", "-N"],
                check=True, stdout=log, stderr=log, cwd="/", stdin=subprocess.DEVNULL,
                user=self._user, group=self._user,
            )  # fmt: skip


def _postgres_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    if place := shutil.which("initdb"):
        return Path(place).parent
    raise Unavailable("the server binaries of PostgreSQL (initdb) are not installed")
