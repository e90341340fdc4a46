"""What only a real socket can do to the web server: dribble, lie about lengths, send without end."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import processes
from tests.chaos.processes import ROOT, Process

MOST = 1024 * 1024
DRIBBLE_SECONDS = 0.5
HONEST = 100
ANSWER_SECONDS = 60.0
PATH = "/hooks/wire/"
# Run in a process of its own: a fresh installation with one connection, whose secret it prints.
PREPARE = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0, interactive=False)
from crm_integration import signatures
from crm_integration.models import Connection
secret = signatures.generate_secret()
Connection.objects.create(slug="wire", name="Wire", inbound_secret=secret)
print(secret)
"""
COUNT = """
import django; django.setup()
from crm_integration.models import InboundMessage
print(InboundMessage.objects.count())
"""


@dataclass
class Site:
    """A web server of `make web` on a database of its own."""

    port: int
    secret: str
    web: Process
    environment: dict[str, str]

    def stored(self) -> int:
        return int(_python(COUNT, self.environment))

    def memory_mib(self) -> float:
        """Resident, of the server and its workers."""
        pages = sum(
            int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            for pid in [self.web.pid, *processes.descendants(self.web.pid)]
        )
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def request(self, body: bytes, *lines: str, message_id: str, length: int | None = None) -> bytes:
        """A signed request's head, with further header lines; a length unless it is -1."""
        now = str(int(time.time()))
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        mac = hmac.new(key, f"{message_id}.{now}.".encode() + body, hashlib.sha256).digest()
        told = len(body) if length is None else length
        head = [
            f"POST {PATH} HTTP/1.1", "Host: localhost", "Content-Type: application/json",
            f"webhook-id: {message_id}", f"webhook-timestamp: {now}",
            f"webhook-signature: v1,{base64.b64encode(mac).decode()}",
            *([f"Content-Length: {told}"] if told >= 0 else []), *lines,
        ]  # fmt: skip
        return ("\r\n".join(head) + "\r\n\r\n").encode()


@contextmanager
def site(folder: Path, environment: dict[str, str] | None = None) -> Iterator[Site]:
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "DATABASE_URL": f"sqlite:///{folder / 'wire.sqlite3'}",
        "CELERY_BROKER_URL": "embedded://",
        **(environment or {}),
        "TIERWISE_VAR": str(folder),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_LEVEL": "WARNING",
    }
    secret, port = _python(PREPARE, told), processes.free_port()
    web = processes.web(folder, told, port).start()
    try:
        processes.wait_for(
            lambda: processes.answers(port), seconds=processes.START_SECONDS, what="the web answers"
        )
        yield Site(port, secret, web, told)
    finally:
        web.kill()


def _python(code: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- Sockets ----------------------------------------------------------------------------------------------
async def ask(port: int, parts: AsyncIterator[bytes], *, half_close: bool = False) -> int | None:
    """The status of the answer, whenever it comes; None when the server hung up without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.ensure_future(reader.readline())
    try:
        # A server that refuses may hang up at any moment; what counts is its answer.
        with suppress(OSError):
            async for part in parts:
                if answer.done():
                    break
                writer.write(part)
                await writer.drain()
            if half_close:
                writer.write_eof()
        line = await asyncio.wait_for(answer, ANSWER_SECONDS)
        return int(line.split()[1]) if line else None
    except (ConnectionError, asyncio.IncompleteReadError):
        return None
    finally:
        answer.cancel()
        writer.close()


async def whole(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def endless(head: bytes, size: int, *, chunked: bool) -> AsyncIterator[bytes]:
    yield head
    piece = b"x" * 65536
    for _ in range(size // len(piece)):
        yield b"10000\r\n" + piece + b"\r\n" if chunked else piece
    if chunked:
        yield b"0\r\n\r\n"


def chunks(body: bytes, size: int = 50) -> bytes:
    parts = [body[place : place + size] for place in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


# --- Lengths ----------------------------------------------------------------------------------------------
@dataclass
class Lengths:
    answers: dict[str, int | None] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    stored: int = 0
    grown_mib: float = 0.0

    @property
    def is_good(self) -> bool:
        return not self.wrong


def lengths(place: Site, *, megabytes: int = 100) -> Lengths:
    """Bodies without a length, over the cap, and of another length than was told."""
    return asyncio.run(_lengths(place, megabytes))


async def _lengths(place: Site, megabytes: int) -> Lengths:
    result, before, stored = Lengths(), place.memory_mib(), place.stored()
    body = json.dumps({"type": "ping", "timestamp": "2026-11-01T10:00:00Z", "data": {}}).encode()
    over = b"x" * (MOST + 1)
    chunked = "Transfer-Encoding: chunked"

    async def check(name: str, wanted: set[int | None], parts: AsyncIterator[bytes], **options: bool) -> None:
        status = await ask(place.port, parts, **options)
        result.answers[name] = status
        if status not in wanted:
            result.wrong.append(f"{name}: {status} instead of {wanted}")

    def head(name: str, content: bytes = body, *lines: str, length: int | None = None) -> bytes:
        return place.request(content, *lines, message_id=f"{stored}-{name.replace(' ', '-')}", length=length)

    await check("as it should be", {202}, whole(head("as it should be"), body))
    await check("in chunks", {202}, whole(head("in chunks", body, chunked, length=-1), chunks(body)))
    await check("a byte over the cap", {413}, whole(head("over", over), over))
    await check(
        "a byte over the cap in chunks", {413},
        whole(head("over2", over, chunked, length=-1), chunks(over, 65536)),
    )  # fmt: skip
    size = megabytes * MOST
    # Nobody has to read all of it: to hang up is an answer, too.
    await check(
        "a hundred megabytes", {413, None}, endless(head("huge", b"", length=size), size, chunked=False)
    )
    await check(
        "a hundred megabytes in chunks", {413, None},
        endless(head("huge2", b"", chunked, length=-1), size, chunked=True),
    )  # fmt: skip
    await check("a million megabytes told", {413, None}, whole(head("told", b"", length=10**12)))
    await check(
        "less than was told", {400, None},
        whole(head("less", body, length=len(body) + 9), body), half_close=True,
    )  # fmt: skip
    await check("more than was told", {401}, whole(head("more", body, length=len(body) - 9), body))
    for name, lines in {
        "a length and chunks": ("Transfer-Encoding: chunked",),
        "two lengths": ("Content-Length: 3",),
        "no number": ("Transfer-Encoding: identity, nonsense",),
    }.items():
        await check(name, {400, 401, 411, 501, None}, whole(head(name, body, *lines), body), half_close=True)
    await check(
        "a head of a megabyte", {400, 401, 431, None},
        whole(head("head", body, *[f"X-{number}: {'x' * 1000}" for number in range(1000)]), body),
    )  # fmt: skip
    await check("no request at all", {400, None}, whole(os.urandom(2000)), half_close=True)
    result.stored, result.grown_mib = place.stored() - stored, place.memory_mib() - before
    if result.stored != 2:
        result.wrong.append(f"{result.stored} messages were stored instead of 2")
    return result


# --- Slow clients -----------------------------------------------------------------------------------------
@dataclass
class Slow:
    clients: int
    honest: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)] if self.seconds else float("inf")


def slow_clients(place: Site, clients: int, *, honest: int = HONEST) -> Slow:
    """Half of them never end their head, half never end their body, while honest messages come in."""
    return asyncio.run(_slow_clients(place, clients, honest))


async def _slow_clients(place: Site, clients: int, honest: int) -> Slow:
    result, ready = Slow(clients), asyncio.Semaphore(0)
    crowd = [asyncio.ensure_future(_dribble(place, number, ready.release)) for number in range(clients)]
    try:
        for _ in range(clients):
            await asyncio.wait_for(ready.acquire(), ANSWER_SECONDS)
        for number in range(honest):
            body = json.dumps({"type": "ping", "timestamp": "2026-11-01T10:00:00Z", "data": {}}).encode()
            head = place.request(body, "Connection: close", message_id=f"honest-{clients}-{number}")
            started = time.monotonic()
            status = await ask(place.port, whole(head + body))
            result.seconds.append(time.monotonic() - started)
            result.honest += 1
            if status != 202:
                result.failed.append(f"{number}: {status}")
    finally:
        for one in crowd:
            one.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
    return result


async def _dribble(place: Site, number: int, begun: Callable[[], None]) -> None:
    """A byte from time to time, for ever; told to hang up, it comes again."""
    has_told = False
    while True:
        with suppress(ConnectionError):
            _reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
            try:
                head = place.request(b"x" * 1000, message_id=f"slow-{number}")
                writer.write(head if number % 2 else head[:60])
                await writer.drain()
                if not has_told:
                    begun()
                has_told = True
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(DRIBBLE_SECONDS)
            finally:
                writer.close()
        await asyncio.sleep(DRIBBLE_SECONDS)
