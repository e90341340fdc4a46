"""Databases and brokers that belong to one run of the harness, so that stopping them hurts nobody else."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from tests.chaos.processes import Process, answers, free_port, wait_for
from tests.chaos.proxy import Proxy

QUEUES = ("inbound", "score", "train", "outbound", "default")


class Unavailable(Exception):
    """This machine has not what a cell needs; the message says what."""


class Database(Protocol):
    vendor: str

    @property
    def url(self) -> str: ...

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]: ...

    def execute(self, sql: str) -> None: ...


class Sqlite:
    """The file itself. Read through a connection of its own for each look, as another program would."""

    vendor = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path, timeout=20)) as connection:
            return connection.execute(sql.replace("%s", "?"), values).fetchall()

    def execute(self, sql: str) -> None:
        with closing(sqlite3.connect(self.path, timeout=20)) as connection, connection:
            connection.execute(sql)

    def stop(self) -> None:
        """A file needs no stopping."""


class Postgres:
    """A cluster in a folder of its own. Needs the server's binaries; as root it runs as the user postgres."""

    vendor = "postgresql"

    def __init__(self, place: Path | None = None) -> None:
        """In a new folder under `place`, or where temporary files go: the server's user must be able to reach it."""
        self._bin = _postgres_binaries()
        self._user = "postgres" if os.getuid() == 0 else None
        self.folder = folder = Path(tempfile.mkdtemp(prefix="chaos-postgresql-", dir=place))
        self.port = free_port()
        if self._user:
            shutil.chown(folder, self._user)
        self._run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "postgres", "-E", "UTF8", "-N")
        self.start()
        self._run("createdb", "-U", "postgres", "-h", "127.0.0.1", "-p", str(self.port), "tierwise")

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/tierwise"

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.url.replace("postgres:", "postgresql:", 1), autocommit=True) as connection:
            return connection.execute(sql, values).fetchall()  # type: ignore[call-overload]

    def execute(self, sql: str) -> None:
        import psycopg

        with psycopg.connect(self.url.replace("postgres:", "postgresql:", 1), autocommit=True) as connection:
            connection.execute(sql)  # type: ignore[call-overload]

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        data, log = str(self.folder / "data"), str(self.folder / "log")
        self._run("pg_ctl", "start", "-w", "-D", data, "-o", options, "-l", log)

    def stop_at_once(self) -> None:
        """As a power cut: no checkpoint, every connection dropped, recovery from the log at the next start."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.folder / "data"))

    def stop(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self.stop_at_once()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        with (self.folder / "commands.log").open("ab") as log:
            subprocess.run(
                [str(self._bin / program), *arguments], check=True, stdout=log, stderr=log, cwd="/",
                stdin=subprocess.DEVNULL, user=self._user, group=self._user,
            )  # fmt: skip


def _postgres_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    if place := shutil.which("initdb"):
        return Path(place).parent
    raise Unavailable("the server binaries of PostgreSQL (initdb) are not installed")


class Broker(Protocol):
    """`url` is where the product finds it. A broker that is the database itself has no faults of its own."""

    url: str

    def kill(self) -> None: ...

    def pause(self) -> None: ...

    def restore(self) -> None: ...

    def empty(self) -> None: ...

    def stop(self) -> None: ...


class Embedded:
    """The product's own table of messages."""

    url = "embedded://"

    def __init__(self, database: Database) -> None:
        self._database = database

    def kill(self) -> None:
        """It lives and dies with the database."""

    pause = restore = stop = kill

    def empty(self) -> None:
        self._database.execute("DELETE FROM workers_queuedmessage")


class RabbitMQ:
    """A server that others use too: queues under a prefix, and a proxy in front that stands for its failures."""

    def __init__(self, prefix: str) -> None:
        given = urlsplit(os.environ.get("CI_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//"))
        if not answers(given.port or 5672):
            raise Unavailable(f"RabbitMQ does not answer on port {given.port or 5672}")
        self._direct = given.geturl()
        self._prefix = prefix
        self._proxy = Proxy(given.port or 5672)
        self.url = f"amqp://{given.username}:{given.password}@127.0.0.1:{self._proxy.port}//"

    def kill(self) -> None:
        self._proxy.cut()

    def pause(self) -> None:
        self._proxy.cut()

    def restore(self) -> None:
        self._proxy.restore()

    def empty(self) -> None:
        self._each_queue(lambda channel, name: channel.queue_purge(name))

    def stop(self) -> None:
        self._each_queue(lambda channel, name: channel.queue_delete(name))
        self._proxy.close()

    def _each_queue(self, action: Any) -> None:
        from kombu import Connection

        for name in QUEUES:
            with suppress(Exception), Connection(self._direct) as connection:
                action(connection.default_channel, f"{self._prefix}{name}")


class Redis:
    """A server of its own with an append-only file; `kill` is kill -9 of the server."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise Unavailable("redis-server is not installed")
        folder.mkdir(parents=True)
        self.port = free_port()
        self._process = Process(
            "redis",
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder),
             "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"],
            log=folder / "redis.log", environment={},
        )  # fmt: skip
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.restore()

    def kill(self) -> None:
        self._process.kill()

    def pause(self) -> None:
        self._process.signal(signal.SIGSTOP)

    def restore(self) -> None:
        if self._process.alive:
            self._process.signal(signal.SIGCONT)
        else:
            self._process.start()
        wait_for(lambda: answers(self.port), seconds=20, what="Redis answers")

    def empty(self) -> None:
        import redis

        with redis.Redis(port=self.port) as client:
            client.flushall()

    def stop(self) -> None:
        if self._process.alive:
            self._process.kill()


def wait_until_back(database: Database, *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            database.rows("SELECT 1")
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
