"""Whoever sends slowly, or too much, occupies none of the threads that work."""

from __future__ import annotations

import io
from threading import Event, Thread

import pytest

from config.serving import BODY_BYTES, patient


class Dribble:
    """A client that sends `first` and then nothing more until it is told to."""

    def __init__(self, first: bytes) -> None:
        self.first, self.go = first, Event()

    def read(self, size: int = -1) -> bytes:
        if self.first:
            piece, self.first = self.first[:size], self.first[size:]
            return piece
        assert self.go.wait(10)
        return b""


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def call(application, source, length=None, **more):
    told = {"HTTP_TRANSFER_ENCODING": "chunked"} if length is None else {"CONTENT_LENGTH": str(length)}
    said = []
    found = application({"wsgi.input": source, **told, **more}, lambda status, headers: said.append(status))
    return said[0], b"".join(found)


@pytest.mark.parametrize("size", [0, 5, BODY_BYTES, BODY_BYTES + 1, 3 * BODY_BYTES])
def test_a_body_arrives_whole(size):
    body = bytes(range(256)) * (size // 256 + 1)
    application = patient(echo, threads=1, most=10 * BODY_BYTES)
    assert call(application, io.BytesIO(body + b"next request"), size) == (
        "200 OK",
        (body + b"next request")[:size],
    )


def test_a_long_body_that_dribbles_keeps_nobody_waiting():
    application = patient(echo, threads=1, most=10 * BODY_BYTES)
    slow = Dribble(b"a" * 1000)
    answers = []
    thread = Thread(target=lambda: answers.append(call(application, slow, 2 * BODY_BYTES)))
    thread.start()
    assert call(application, io.BytesIO(b"hello"), 5) == ("200 OK", b"hello")
    slow.go.set()
    thread.join(10)
    assert answers == [("400 Bad Request", b"Bad Request")], "half a body is not taken for a whole"


def test_what_is_too_long_is_refused_unread():
    application = patient(echo, threads=1, most=100)
    assert call(application, Dribble(b""), 101)[0] == "413 Content Too Large"


def test_a_door_that_refuses_large_bodies_itself_is_asked_at_once():
    def door(environ, start_response):
        start_response("413 " + environ["CONTENT_LENGTH"], [])
        return [b""]

    application = patient(door, threads=1, most=10**9, door=lambda environ: 100)
    assert call(application, Dribble(b""), 10**6)[0] == "413 1000000"


def test_of_a_body_in_pieces_only_as_much_is_read_as_its_door_looks_at():
    application = patient(echo, threads=1, most=10**9, door=lambda environ: 100)
    assert call(application, io.BytesIO(b"a" * 500)) == ("200 OK", b"a" * 100)
