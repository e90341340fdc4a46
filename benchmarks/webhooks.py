"""Signed webhooks to committed rows, through the web server of `make web`, beside a bare WSGI application."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from benchmarks import report, setup

MESSAGES = 3_000
SENDERS = 8
MOST_SECONDS = 60.0  # on a busy machine fewer messages must do
A_SECOND = {"postgresql": 500, "sqlite": 250}
P99_MS = 100.0
RATIO = 0.25
SLUG = "benchmark"
BARE = "benchmarks.bare_door:application"
Signed = tuple[bytes, dict[str, str]]


def measure() -> dict[str, Any]:
    from django.db import connection as database

    from crm_integration import connections
    from crm_integration.connections import Door
    from crm_integration.models import Connection, InboundMessage

    connection, created = Connection.objects.get_or_create(
        slug=SLUG, defaults={"name": "Benchmark", "adapter": "standard"}
    )
    if created:
        connections.set_secret(connection, Door.INBOUND)
        connection.refresh_from_db()
    secret = connection.inbound_secret
    before = InboundMessage.objects.count()
    ours = _served("config.wsgi:application", _signed(secret, SENDERS + MESSAGES))
    stored = InboundMessage.objects.count() - before - SENDERS
    bare = _served(
        BARE,
        _signed(secret, SENDERS + MESSAGES),
        {"BENCH_SECRET": secret, "BENCH_CONNECTION": str(connection.pk)},
    )
    return {
        "benchmark": "webhooks",
        "database": database.vendor,
        "messages": len(ours["each"]),
        "stored": stored,
        "seconds": ours["seconds"],
        "a_second": len(ours["each"]) / ours["seconds"],
        "ms": report.quantiles(ours["each"]),
        "floor": bare["seconds"],
        "floor_a_second": len(bare["each"]) / bare["seconds"],
        "floor_ms": report.quantiles(bare["each"]),
        "ratio": len(ours["each"]) / ours["seconds"] / (len(bare["each"]) / bare["seconds"]),
    }


def lines(result: dict[str, Any]) -> list[str]:
    least = A_SECOND[result["database"]]
    return [
        f"webhook → row: {result['ratio']:.2f} of a bare WSGI application (target {RATIO}) · {result['a_second']:,.0f}/s "
        f"(target {least}), bare {result['floor_a_second']:,.0f}/s · p50 {result['ms']['p50']:.1f} ms, "
        f"p99 {result['ms']['p99']:.1f} ms (target {P99_MS:.0f}) · "
        f"{result['stored']:,} of {result['messages']:,} messages became rows · load {report.machine()['load'][0]}"
    ]


def _served(
    application: str, messages: list[Signed], environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """Send from a few keep-alive connections, after one message each, until all are sent or the time is over."""
    from workers.demo import processes

    port = processes.free_port()
    log = setup.folder() / "web.log"
    web = processes.start_web(port, log, environment or {}, application)
    try:
        _send(port, messages[:SENDERS])
        started = perf_counter()
        with ThreadPoolExecutor(SENDERS) as pool:
            parts = [messages[SENDERS + number :: SENDERS] for number in range(SENDERS)]
            each = [seconds for part in pool.map(lambda part: _send(port, part), parts) for seconds in part]
        return {"seconds": perf_counter() - started, "each": each}
    finally:
        web.stop()


def _send(port: int, messages: list[Signed]) -> list[float]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    taken: list[float] = []
    until = perf_counter() + MOST_SECONDS
    for body, headers in messages:
        started = perf_counter()
        if started > until:
            break
        link.request("POST", f"/hooks/{SLUG}/", body, headers)
        answer = link.getresponse()
        answer.read()
        taken.append(perf_counter() - started)
        if answer.status != http.client.ACCEPTED:
            raise SystemExit(f"The door answered {answer.status}.")
    return taken


def _signed(secret: str, count: int) -> list[Signed]:
    from crm_integration import signatures

    now = int(time.time())
    out = []
    for number in range(count):
        body = json.dumps(_view(number)).encode()
        named = signatures.headers(
            [secret], message_id=f"msg_{secrets.token_hex(12)}", timestamp=now, body=body
        )
        out.append((body, {**named, "Content-Type": "application/json"}))
    return out


def _view(number: int) -> dict[str, Any]:
    return {
        "type": "product.viewed",
        "timestamp": "2025-12-31T10:00:00Z",
        "data": {"customer": f"C{number:07d}", "product_id": "P1", "occurred_at": "2025-12-31T10:00:00Z"},
    }
