"""The floor of the webhook door: check the signature, commit one row, answer 202, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

URL = os.environ["DATABASE_URL"]
KEY = base64.b64decode(os.environ["BENCH_SECRET"].removeprefix("whsec_"))
MARK = "?" if URL.startswith("sqlite") else "%s"
INSERT = f"INSERT INTO bare_messages VALUES ({MARK}, {MARK}, {MARK})"
CREATE = (
    "CREATE TABLE IF NOT EXISTS bare_messages (connection bigint, message_id text PRIMARY KEY, body text)"
)
_links = threading.local()
_lock = threading.Lock()


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    name, moment = environ["HTTP_WEBHOOK_ID"], environ["HTTP_WEBHOOK_TIMESTAMP"]
    wanted = hmac.new(KEY, f"{name}.{moment}.".encode() + body, hashlib.sha256).digest()
    given = base64.b64decode(environ["HTTP_WEBHOOK_SIGNATURE"].removeprefix("v1,"))
    if not hmac.compare_digest(wanted, given):
        start_response("401 Unauthorized", [])
        return [b""]
    link = _link()
    link.execute(INSERT, (int(os.environ["BENCH_CONNECTION"]), name, body.decode()))
    start_response("202 Accepted", [])
    return [b""]


def _link() -> Any:
    """A connection a thread; every statement commits."""
    if not hasattr(_links, "link"):
        if URL.startswith("sqlite"):
            import sqlite3

            _links.link = sqlite3.connect(URL.removeprefix("sqlite:///"), isolation_level=None, timeout=20)
            _links.link.execute("PRAGMA synchronous=FULL")
        else:
            import psycopg

            _links.link = psycopg.connect(URL, autocommit=True)
        with _lock:
            _links.link.execute(CREATE)
    return _links.link
