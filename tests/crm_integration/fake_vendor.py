"""A vendor's API on loopback: answers by method and path, remembers what it was asked."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict
    headers: dict
    content: object


@dataclass
class FakeVendor:
    """`answers[path]`: a list taken one a request, the last for ever; each is JSON, (status, headers, JSON), or a
    function of the request that returns one of the two."""

    answers: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    server: ThreadingHTTPServer = None
    waits: list = field(default_factory=list)

    @property
    def pair(self):
        return f"127.0.0.1:{self.server.server_port}"

    @property
    def root(self):
        return f"http://{self.pair}"

    def paths(self):
        return [request.path for request in self.asked]

    def answer(self, request):
        told = self.answers.get(request.path)
        if told is None:
            return 404, {}, {"error": "not found"}
        if isinstance(told, list):
            told = told.pop(0) if len(told) > 1 else told[0]
        if callable(told):
            told = told(request)
        return told if isinstance(told, tuple) else (200, {}, told)


def _handler(vendor):
    class Handler(BaseHTTPRequestHandler):
        def _serve(self):
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Asked(
                self.command,
                parts.path,
                {
                    name: values if len(values) > 1 else values[0]
                    for name, values in parse_qs(parts.query).items()
                },
                {name.lower(): value for name, value in self.headers.items()},
                json.loads(body) if body else None,
            )
            vendor.asked.append(request)
            status, headers, content = vendor.answer(request)
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(raw)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = _serve

        def log_message(self, *args):
            pass

    return Handler


@contextmanager
def running():
    fake = FakeVendor()
    fake.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    fake.server.daemon_threads = True
    thread = threading.Thread(target=fake.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()
    thread.join()


@pytest.fixture
def vendor(settings, monkeypatch):
    """A fake vendor that every kind with an API asks instead of the real one; nobody really waits."""
    from crm_integration import fetching
    from crm_integration.adapters import registry

    with running() as fake:
        settings.OUTBOUND_ALLOW = [fake.pair]
        for adapter in registry.KNOWN:
            if hasattr(type(adapter), "api_root"):
                monkeypatch.setattr(type(adapter), "api_root", fake.root)

        monkeypatch.setattr(fetching.time, "sleep", fake.waits.append)
        yield fake
