"""Slow clients wait by themselves: the few threads that work, each with its database connection, never wait for one.

A WSGI server gives each request a thread that reads its body as it comes; four clients that dribble would occupy four
such threads for ever. So the server has many threads (SERVER_THREADS: they cost little while they wait), and whatever
came whole is worked on by a few of ours.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Any, Final

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
StartResponse = Callable[..., object]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

# Of a body or an answer that is held in memory; longer ones wait on disk.
BODY_BYTES: Final = 1024 * 1024 + 1
ANSWER_BYTES: Final = 1024 * 1024
PIECE: Final = 64 * 1024


@dataclass
class _Answer:
    status: str
    headers: Headers
    content: IO[bytes]

    def pieces(self) -> Iterator[bytes]:
        with closing(self.content) as content:
            while piece := content.read(PIECE):
                yield piece


def patient(
    application: Application,
    *,
    threads: int,
    most: int,
    door: Callable[[Environ], int | None] = lambda _environ: None,
) -> Application:
    """`application`, run by so many threads and for no request before its body is there.

    most: bytes of a body; more is refused. door: for requests whose application refuses large bodies itself, how many
    bytes it wants to see; a body that is longer by its own account is not waited for.
    """
    workers = ThreadPoolExecutor(threads, thread_name_prefix="web")

    def waiting(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        wanted, told = door(environ), _told(environ)
        if wanted is None and told is not None and told > most:
            return _refused("413 Content Too Large", start_response)
        # Of bodies in pieces Django sees nothing, only the doors do.
        limit = wanted if wanted is not None else BODY_BYTES if told is None else most
        with closing(_arrived(environ, told, limit)) as body:
            if wanted is None and told is not None and body.seek(0, io.SEEK_END) < told:
                # Half a form is not what somebody meant to send.
                return _refused("400 Bad Request", start_response)
            if told is None or wanted is None or told <= wanted:
                body.seek(0)
                environ["wsgi.input"] = body
            answer = workers.submit(_worked, application, environ).result()
        start_response(answer.status, answer.headers)
        whole = answer.content.read(PIECE)
        # Most answers are one piece; a server sends a list at once.
        return [whole] if len(whole) < PIECE else _after(whole, answer.pieces())

    return waiting


def _refused(status: str, start_response: StartResponse) -> list[bytes]:
    text = status.partition(" ")[2].encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]


def _worked(application: Application, environ: Environ) -> _Answer:
    """Everything that touches the database: the answer to its last byte, and its end."""
    said: list[tuple[str, Headers]] = []

    def start_response(status: str, headers: Headers, error: Any = None) -> None:
        said.append((status, headers))

    parts = application(environ, start_response)
    content: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=ANSWER_BYTES)  # noqa: SIM115 (closed when it is sent)
    try:
        for part in parts:
            content.write(part)
    finally:
        if hasattr(parts, "close"):
            parts.close()
    content.seek(0)
    return _Answer(*said[-1], content)


def _after(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _told(environ: Environ) -> int | None:
    """The length of the body by its own account; None where it comes in pieces or says nonsense."""
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isascii() and length.isdigit():
        return int(length[:20])
    return None if "HTTP_TRANSFER_ENCODING" in environ else 0


def _arrived(environ: Environ, told: int | None, most: int) -> IO[bytes]:
    """The body to its last byte: a short one in memory, a longer one on disk; nothing of one that is too long."""
    source = environ["wsgi.input"]
    if told is not None and told > most:
        return io.BytesIO()
    if told is not None and told <= BODY_BYTES:
        return io.BytesIO(source.read(told) if told else b"")
    body = tempfile.SpooledTemporaryFile(max_size=BODY_BYTES)  # noqa: SIM115 (closed when it is answered)
    left = most if told is None else told
    while left and (piece := source.read(min(left, PIECE))):
        body.write(piece)
        left -= len(piece)
    return body
