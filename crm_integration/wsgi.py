"""Webhooks go straight to their door: sessions, languages and forms are nothing to them, and took a third of their time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from time import monotonic
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.db import connection as database

from crm_integration.webhook_door import Answer, Arrived, answer

log = structlog.get_logger(__name__)

PATH: Final = re.compile(r"/hooks/([-a-zA-Z0-9_]+)/")
Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


def webhooks_first(rest: Application) -> Application:
    """A WSGI application that answers webhooks by itself, and leaves everything else to `rest`."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = PATH.fullmatch(environ.get("PATH_INFO", ""))
        if path is None or _must_come_encrypted(environ):
            return rest(environ, start_response)
        return _respond(_answer(path[1], environ), start_response)

    return application


def most_bytes(environ: Environ) -> int | None:
    """How much of a webhook's body its door looks at: one byte more than it takes. None: it is no webhook."""
    return settings.INBOUND_MAX_BYTES + 1 if PATH.fullmatch(environ.get("PATH_INFO", "")) else None


def _must_come_encrypted(environ: Environ) -> bool:
    return settings.SECURE_SSL_REDIRECT and not WSGIRequest(environ).is_secure()


def _answer(slug: str, environ: Environ) -> Answer:
    try:
        return answer(Arrived(slug, environ, environ["wsgi.input"].read))
    except Exception:
        log.exception("inbound.door_failed")
        return Answer(500, {"error": "server_error"})
    finally:
        _tidy()


def _tidy() -> None:
    """What Django does around its own requests, without asking the database each time whether it is there."""
    is_old = database.close_at is not None and monotonic() >= database.close_at
    if (is_old or database.errors_occurred) and not database.in_atomic_block:
        database.close_if_unusable_or_obsolete()


def _respond(said: Answer, start_response: StartResponse) -> Iterable[bytes]:
    body = json.dumps(said.content).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("X-Content-Type-Options", "nosniff"),
        *said.headers.items(),
    ]
    start_response(f"{said.status} {HTTPStatus(said.status).phrase}", headers)
    return [body]
