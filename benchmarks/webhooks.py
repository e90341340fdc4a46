"""Signed webhooks to committed rows, through the web server of `make web`, beside a bare WSGI application.

python -m benchmarks.webhooks [--sqlite] [--importing]     on an empty database, without the shop of `benchmarks.shop`

--importing: while a file of a million lines or more is brought in, which takes a processor and SQLite's one writer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from benchmarks import data, imports, report, setup
from benchmarks.used import group_seconds

MESSAGES = 3_000
SENDERS = 8
MOST_SECONDS = 60.0  # on a busy machine fewer messages must do
A_SECOND = {"postgresql": 500, "sqlite": 250}
P99_MS = 100.0
RATIO = 0.25
P99_RATIO = 2.5
MS_EACH = 2.0  # of the web process's processor
SLUG = "benchmark"
BARE = "benchmarks.bare_door:application"
Signed = tuple[bytes, dict[str, str]]
IMPORTED_LINES = 3_000_000  # it takes longer than the messages


def measure(*, importing: bool = False) -> dict[str, Any]:
    """Messages a second and their times. `importing`: while an import runs, and without the bare application."""
    from django.conf import settings
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
    if importing:
        with _import_running() as (read, is_running):
            ours = _served("config.wsgi:application", _signed(secret, SENDERS + MESSAGES), while_=is_running)
            part = read()
        stored = InboundMessage.objects.count() - before - SENDERS
        return _told(ours, database.vendor, stored, settings.CELERY_BROKER_URL) | {
            "benchmark": "webhooks_importing",
            "imported": part,
        }
    ours = _served("config.wsgi:application", _signed(secret, SENDERS + MESSAGES))
    stored = InboundMessage.objects.count() - before - SENDERS
    bare = _served(
        BARE,
        _signed(secret, SENDERS + MESSAGES),
        {"BENCH_SECRET": secret, "BENCH_CONNECTION": str(connection.pk)},
    )
    return _told(ours, database.vendor, stored, settings.CELERY_BROKER_URL) | {
        "floor": bare["seconds"],
        "floor_a_second": len(bare["each"]) / bare["seconds"],
        "floor_ms": report.quantiles(bare["each"]),
        "floor_cpu_ms": 1000 * bare["cpu"] / len(bare["each"]),
        "ratio": len(ours["each"]) / ours["seconds"] / (len(bare["each"]) / bare["seconds"]),
    }


def _told(ours: dict[str, Any], vendor: str, stored: int, broker: str) -> dict[str, Any]:
    return {
        "benchmark": "webhooks",
        "database": vendor,
        "messages": len(ours["each"]),
        "stored": stored,
        "seconds": ours["seconds"],
        "a_second": len(ours["each"]) / ours["seconds"],
        "ms": report.quantiles(ours["each"]),
        "broker": broker.partition("://")[0],
        "cpu_ms": 1000 * ours["cpu"] / len(ours["each"]),
    }


@contextmanager
def _import_running() -> Iterator[tuple[Callable[[], float], Callable[[], bool]]]:
    """An import in a process of its own that has begun: which part of the file it did since, and whether it runs."""
    from segmentation.imports.presets import events
    from segmentation.models import ImportRun

    file, preset = imports.real() or (imports.repeated(IMPORTED_LINES), "tierwise")
    said = events(preset)
    imports.adopt(said.currency, said.time_zone)
    command = [sys.executable, "manage.py", "import_events", str(file), "--preset", preset]
    child = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL)

    def read() -> float:
        return ImportRun.objects.order_by("-pk").values_list("progress", flat=True).first() or 0.0

    def is_running() -> bool:
        return child.poll() is None

    try:
        while not (first := read()):
            if not is_running():
                raise SystemExit("The import ended before the messages began.")
            time.sleep(0.2)
        yield lambda: read() - first, is_running
    finally:
        child.kill()
        child.wait()


def lines(result: dict[str, Any]) -> list[str]:
    least = A_SECOND[result["database"]]
    if "imported" in result:
        return [
            f"webhook → row while an import runs ({result['imported']:.0%} of its file meanwhile): "
            f"{result['a_second']:,.0f}/s (target {least}) · p50 {result['ms']['p50']:.1f} ms, "
            f"p99 {result['ms']['p99']:.1f} ms · {result['cpu_ms']:.2f} ms of the web process's processor each · "
            f"{result['broker']} broker · {result['stored']:,} of {result['messages']:,} messages became rows · "
            f"load {report.machine()['load'][0]}"
        ]
    return [
        f"webhook → row: {result['ratio']:.2f} of a bare WSGI application (target {RATIO}) · {result['a_second']:,.0f}/s "
        f"(target {least}), bare {result['floor_a_second']:,.0f}/s · p50 {result['ms']['p50']:.1f} ms, "
        f"p99 {result['ms']['p99']:.1f} ms (target {P99_MS:.0f}), {result['ms']['p99'] / result['floor_ms']['p99']:.1f} of "
        f"the bare one's (target {P99_RATIO}) · {result['cpu_ms']:.2f} ms of the web process's processor each "
        f"(target {MS_EACH:.0f}), bare {result['floor_cpu_ms']:.2f} · {result['broker']} broker · "
        f"{result['stored']:,} of {result['messages']:,} messages became rows · load {report.machine()['load'][0]}"
    ]


def _served(
    application: str,
    messages: list[Signed],
    environment: dict[str, str] | None = None,
    while_: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """Send from a few keep-alive connections, after one message each, until all are sent or the time is over."""
    from workers.demo import processes

    port = processes.free_port()
    log = setup.folder() / "web.log"
    web = processes.start_web(port, log, environment or {}, application)
    try:
        _send(port, messages[:SENDERS])
        started, cpu = perf_counter(), group_seconds(web.child.pid)
        with ThreadPoolExecutor(SENDERS) as pool:
            parts = [messages[SENDERS + number :: SENDERS] for number in range(SENDERS)]
            each = [
                seconds
                for part in pool.map(lambda part: _send(port, part, while_), parts)
                for seconds in part
            ]
        return {
            "seconds": perf_counter() - started,
            "each": each,
            "cpu": group_seconds(web.child.pid) - cpu,
        }
    finally:
        web.stop()


def _send(port: int, messages: list[Signed], while_: Callable[[], bool] = lambda: True) -> list[float]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    taken: list[float] = []
    until = perf_counter() + MOST_SECONDS
    for body, headers in messages:
        started = perf_counter()
        if started > until or not while_():
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--importing", action="store_true")
    options = parser.parse_args()
    url = data.empty(sqlite=options.sqlite)
    setup.use(url)
    from django.core.management import call_command
    from django.db import connections

    try:
        call_command("migrate", verbosity=0, interactive=False)
        result = measure(importing=options.importing)
        report.show(result, lines(result))
    finally:
        connections.close_all()
        data.drop(url)


if __name__ == "__main__":
    main()
