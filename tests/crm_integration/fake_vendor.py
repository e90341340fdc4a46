"""A vendor's API on loopback: answers by method and path, remembers what it was asked."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.crm_integration import servers


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict
    headers: dict
    content: object
    size: int = 0


@dataclass
class FakeVendor(servers.Served):
    """`answers[path]`: a list taken one a request, the last for ever; each is JSON, (status, headers, JSON), or a
    function of the request that returns one of the two."""

    answers: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    server: ThreadingHTTPServer = None
    waits: list = field(default_factory=list)
    missing: int = 404

    def paths(self):
        return [request.path for request in self.asked]

    def answer(self, request):
        told = self.answers.get(request.path)
        if told is None:
            return self.missing, {}, {"error": "not found"}
        if isinstance(told, list):
            told = told.pop(0) if len(told) > 1 else told[0]
        if callable(told):
            told = told(request)
        return told if isinstance(told, tuple) else (200, {}, told)


def _handler(vendor):
    class Handler(servers.QuietHandler):
        def _serve(self):
            parts = urlsplit(self.path)
            body = self.body()
            query = {
                name: values if len(values) > 1 else values[0]
                for name, values in parse_qs(parts.query).items()
            }
            headers = {name.lower(): value for name, value in self.headers.items()}
            content = json.loads(body) if body else None
            request = Asked(self.command, parts.path, query, headers, content, len(body))
            vendor.asked.append(request)
            status, headers, content = vendor.answer(request)
            self.reply(
                status, headers, content if isinstance(content, bytes) else json.dumps(content).encode()
            )

        do_GET = do_POST = do_PUT = do_PATCH = _serve

    return Handler


@contextmanager
def running(fake=None):
    fake = fake or FakeVendor()
    with servers.running(fake, _handler(fake)):
        yield fake


def take_the_place_of_all(fake, settings, monkeypatch):
    """Every kind with an API asks this one instead of the real one; nobody really waits."""
    from crm_integration import fetching
    from crm_integration.adapters import registry

    settings.OUTBOUND_ALLOW = [fake.pair]
    for adapter in registry.KNOWN:
        if hasattr(type(adapter), "api_root"):
            monkeypatch.setattr(type(adapter), "api_root", fake.root)
    monkeypatch.setattr(fetching.time, "sleep", fake.waits.append)


@pytest.fixture
def vendor(settings, monkeypatch):
    with running() as fake:
        take_the_place_of_all(fake, settings, monkeypatch)
        yield fake
