"""A receiver on loopback that answers as told and remembers what came."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class FakeCrm:
    """`answers` are taken one a request, the last one for ever: (status, headers, body) or a function of the handler."""

    answers: list = field(default_factory=lambda: [(200, {}, b"")])
    requests: list = field(default_factory=list)
    server: ThreadingHTTPServer = None

    @property
    def pair(self):
        return f"127.0.0.1:{self.server.server_port}"

    @property
    def url(self):
        return f"http://{self.pair}/hook"

    def next_answer(self):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def _handler(crm):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            crm.requests.append((dict(self.headers), body))
            answer = crm.next_answer()
            if callable(answer):
                answer(self)
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):
            crm.requests.append((dict(self.headers), b"GET"))
            self.send_error(405)

        def log_message(self, *args):
            pass

    return Handler


@contextmanager
def running():
    fake = FakeCrm()
    fake.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    fake.server.daemon_threads = True
    thread = threading.Thread(target=fake.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()
    thread.join()


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
