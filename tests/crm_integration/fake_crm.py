"""A receiver on loopback that answers as told and remembers what came."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer

import pytest

from tests.crm_integration import servers


@dataclass
class FakeCrm(servers.Served):
    """`answers` are taken one a request, the last one for ever: (status, headers, body) or a function of the handler."""

    answers: list = field(default_factory=lambda: [(200, {}, b"")])
    requests: list = field(default_factory=list)
    server: ThreadingHTTPServer = None

    @property
    def url(self):
        return f"{self.root}/hook"

    def next_answer(self):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def _handler(crm):
    class Handler(servers.QuietHandler):
        def do_POST(self):
            crm.requests.append((dict(self.headers), self.body()))
            answer = crm.next_answer()
            if callable(answer):
                answer(self)
            else:
                self.reply(*answer)

        def do_GET(self):
            crm.requests.append((dict(self.headers), b"GET"))
            self.send_error(405)

    return Handler


@contextmanager
def running():
    fake = FakeCrm()
    with servers.running(fake, _handler(fake)):
        yield fake


@pytest.fixture
def crm(settings):
    """A fake CRM that deliveries may reach."""
    with running() as fake:
        settings.OUTBOUND_ALLOW = [fake.pair]
        yield fake


def drip_head(handler):
    """A head that never ends: each piece comes before the read timeout."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    _drip(handler, b"X-More: 1\r\n")


def drip_body(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    _drip(handler, b"x")


def _drip(handler, piece):
    for _ in range(400):
        try:
            handler.wfile.write(piece)
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.05)


def hang(handler):
    time.sleep(3)


def hang_up(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def endless(handler):
    """A reply as large as the reader lets it be."""
    handler.wfile.write(b"HTTP/1.1 500 Oops\r\n\r\n")
    try:
        while True:
            handler.wfile.write(b"x" * 65536)
    except OSError:
        handler.close_connection = True
