"""From the webhook's 202 to the decision at the receiver, while orders and views come in all the time.

Real processes: the web server, workers with beat, the broker of the environment, a receiver on loopback. Every order is
of a new customer, about whom a decision must come; views are of customers who are there, and make work beside it.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import report, setup
from benchmarks.used import Used, group_seconds

if TYPE_CHECKING:
    from crm_integration.demo_receiver import DemoReceiver
    from crm_integration.models import Connection
    from workers.demo.processes import Process

RATE = float(os.environ.get("BENCH_RATE", "100"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
SENDERS = 8
WARM_UP, WARM_UP_RATE = 10, 2.0
PATIENCE = 120.0
P50_MS, P99_MS = 250.0, 1000.0
BATCH = 100
SLUG = "latency"
# Where a message is on its way, by the rows' own times.
STAGES = {
    "stored → claimed": "m.started_at - m.created_at",
    "claimed → recorded": "m.finished_at - m.started_at",
    "recorded → decided": "o.created_at - m.finished_at",
    "decided → claimed": "o.started_at - o.created_at",
    "claimed → delivered": "o.delivered_at - o.started_at",
}


@dataclass(frozen=True)
class Told:
    """An event that was sent. accepted_at: seconds since 1970, when the 202 was here. reference: of an order's customer."""

    message_id: str
    reference: str
    accepted_at: float
    behind: float  # seconds after it should have been sent


@dataclass
class Line:
    """The processes and what they have used."""

    web: Process
    worker: Process
    port: int
    begun: dict[str, float] = field(default_factory=dict)

    def used(self) -> dict[str, float]:
        return {"web": group_seconds(self.web.child.pid), "worker": group_seconds(self.worker.child.pid)}


def measure() -> dict[str, Any]:
    from django.conf import settings
    from django.db import connection as database
    from django.db.models.functions import Now

    from crm_integration.demo_receiver import DemoReceiver
    from segmentation.models import Segment

    log = setup.folder() / "latency.jsonl"
    log.unlink(missing_ok=True)
    receiver = DemoReceiver(log=log).start()
    connection = _connection(receiver)
    # Nobody changed a rule since the classification: no work of another kind is to be done meanwhile.
    Segment.objects.filter(refreshed_at=None).update(refreshed_at=Now())
    try:
        processor = _by_hand(connection, receiver.pair)
        with _line(receiver.pair) as line:
            _wait(receiver, _tell(line, connection, WARM_UP, rate=WARM_UP_RATE, orders_only=True))
            before = line.used()
            told = _tell(line, connection, int(RATE * SECONDS), rate=RATE)
            arrived = _wait(receiver, told)
            used = {name: seconds - before[name] for name, seconds in line.used().items()}
    finally:
        receiver.stop()
    orders = [one for one in told if one.reference]
    late = [arrived[one.reference] - one.accepted_at for one in orders if one.reference in arrived]
    return {
        "benchmark": "latency",
        "database": database.vendor,
        "broker": settings.CELERY_BROKER_URL.partition("://")[0],
        "rate": RATE,
        "events": len(told),
        "orders": len(orders),
        "delivered": len(late),
        "ms": report.quantiles(late) if late else {},
        "sender_behind_ms": report.quantiles([one.behind for one in told]),
        "cpu_ms": {name: 1000 * seconds / len(told) for name, seconds in used.items()},
        "stages_ms": _stages([one.message_id for one in orders]),
        "processor": processor,
    }


def lines(result: dict[str, Any]) -> list[str]:
    ms = result["ms"] or {"p50": float("nan"), "p99": float("nan")}
    used = result["cpu_ms"]
    out = [
        f"202 → delivered decision: p50 {ms['p50'] / P50_MS:.2f} and p99 {ms['p99'] / P99_MS:.2f} of the targets · "
        f"p50 {ms['p50']:.0f} ms (target {P50_MS:.0f}), p99 {ms['p99']:.0f} ms (target {P99_MS:.0f}) at "
        f"{result['rate']:.0f} events a second · {result['delivered']:,} of {result['orders']:,} decisions came · "
        f"processor an event: web {used['web']:.1f} ms, workers {used['worker']:.1f} ms · sent late by up to "
        f"{result['sender_behind_ms']['p99']:.0f} ms · {result['broker']} broker · load {report.machine()['load'][0]}"
    ]
    out += [
        f"    processor of an event in {name:<8} {told['cpu_ms']:5.1f} ms, its database {told['server_cpu_ms']:4.1f} ms, "
        f"{told['statements']:4.1f} statements"
        for name, told in result["processor"].items()
    ]
    return out + [
        f"    {name:<20} p50 {stage['p50']:7.0f} ms, p99 {stage['p99']:7.0f} ms"
        for name, stage in result["stages_ms"].items()
    ]


def _connection(receiver: DemoReceiver) -> Connection:
    from crm_integration import connections
    from crm_integration.connections import Door
    from crm_integration.models import Connection

    row, _created = Connection.objects.update_or_create(
        slug=SLUG,
        defaults={
            "name": "Latency",
            "adapter": "standard",
            "sends_outbound": True,
            "outbound_url": receiver.url,
        },
    )
    connections.set_secret(row, Door.INBOUND)
    receiver.secret = connections.set_secret(row, Door.OUTBOUND)
    return row


@contextmanager
def _line(pair: str) -> Iterator[Line]:
    from workers.demo import processes

    environment = {"OUTBOUND_ALLOW": pair, "OMP_NUM_THREADS": "1"}
    port = processes.free_port()
    worker = processes.start_worker(setup.folder() / "worker.log", environment)
    web = None
    try:
        web = processes.start_web(port, setup.folder() / "web.log", environment)
        _ready(worker, setup.folder() / "worker.log")
        yield Line(web, worker, port)
    finally:
        for process in filter(None, (web, worker)):
            process.stop()


def _ready(worker: Process, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while b" ready." not in log.read_bytes():
        worker.check()
        if time.monotonic() > until:
            raise SystemExit(f"The worker is not ready after {PATIENCE:.0f} s; see {log}.")
        time.sleep(0.1)


def _tell(
    line: Line, connection: Connection, count: int, *, rate: float, orders_only: bool = False
) -> list[Told]:
    """Send at the moments of the rate, whatever the answers take; every second event is an order."""
    known = _references()
    random = Random(1)
    events = [
        _order() if orders_only or number % 2 else _view(random.choice(known)) for number in range(count)
    ]
    begin = time.monotonic() + 0.2
    with ThreadPoolExecutor(SENDERS) as pool:
        parts = [
            pool.submit(_send, line.port, connection.inbound_secret, events, begin, rate, first)
            for first in range(SENDERS)
        ]
        return [told for part in parts for told in part.result()]


def _send(
    port: int, secret: str, events: list[tuple[str, dict[str, Any]]], begin: float, rate: float, first: int
) -> list[Told]:
    from crm_integration import signatures

    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    told = []
    for number in range(first, len(events), SENDERS):
        reference, envelope = events[number]
        due = begin + number / rate
        time.sleep(max(due - time.monotonic(), 0))
        behind = time.monotonic() - due
        body, message_id = json.dumps(envelope).encode(), f"msg_{secrets.token_hex(12)}"
        headers = signatures.headers([secret], message_id=message_id, timestamp=int(time.time()), body=body)
        link.request("POST", f"/hooks/{SLUG}/", body, {**headers, "Content-Type": "application/json"})
        answer = link.getresponse()
        answer.read()
        if answer.status != http.client.ACCEPTED:
            raise SystemExit(f"The door answered {answer.status}.")
        told.append(Told(message_id, reference, time.time(), behind))
    return told


def _wait(receiver: DemoReceiver, told: list[Told]) -> dict[str, float]:
    """When the first decision about each customer was there, of all that come while any still do."""
    wanted = {one.reference for one in told if one.reference}
    arrived: dict[str, float] = {}
    until = time.monotonic() + PATIENCE
    while not wanted <= arrived.keys() and time.monotonic() < until:
        time.sleep(0.5)
        for delivery in receiver.received():
            reference = delivery["message"]["data"].get("customer", {}).get("reference")
            arrived.setdefault(reference, delivery["received_at"])
    return arrived


def _references() -> list[str]:
    from segmentation.models import Customer

    rows = Customer.objects.filter(merged_into=None).order_by("pk")
    return list(rows.values_list("reference", flat=True)[:2000])


def _moment() -> datetime:
    from segmentation.models import Shop

    shop = Shop.get()
    return datetime.combine(shop.today(), clock(0, 1), tzinfo=shop.zone).astimezone(UTC)


def _order() -> tuple[str, dict[str, Any]]:
    from segmentation.models import Shop

    reference = f"N-{secrets.token_hex(6)}"
    item = {"product_id": "P1", "quantity": 1, "amount": "39.80"}
    data = {
        "order_id": f"order-{reference}",
        "customer": reference,
        "currency": Shop.get().base_currency,
        "amount": "39.80",
        "items": [item],
    }
    return reference, _envelope("order.placed", data)


def _view(reference: str) -> tuple[str, dict[str, Any]]:
    return "", _envelope("product.viewed", {"customer": reference, "product_id": "P1"})


def _envelope(topic: str, data: dict[str, Any]) -> dict[str, Any]:
    moment = _moment()
    at = (moment - timedelta(seconds=1)).isoformat()
    return {"type": topic, "timestamp": moment.isoformat(), "data": {**data, "occurred_at": at}}


def unsent(job: object, ids: dict[str, int]) -> None:
    """Nobody is to be nudged: the work is done by hand."""


def _by_hand(connection: Connection, pair: str) -> dict[str, dict[str, float]]:
    """The line in this process, step by step, on a batch of events: what each step takes of the processor, an event.

    A batch is what waits when events come faster than they are worked in.
    """
    from django.conf import settings
    from django.utils import timezone

    from crm_integration import inbox, outbox
    from segmentation import scoring

    known, random = _references(), Random(2)
    jobs, allowed = settings.JOB_SENDER, settings.OUTBOUND_ALLOW
    settings.JOB_SENDER, settings.OUTBOUND_ALLOW = "benchmarks.latency.unsent", [pair]

    def store() -> None:
        for number in range(BATCH):
            _reference, envelope = _order() if number % 2 else _view(random.choice(known))
            body, key = json.dumps(envelope).encode(), f"msg_{secrets.token_hex(12)}"
            inbox.store(connection, dedupe_key=key, body=body, received_at=timezone.now())

    def rescore() -> None:
        while scoring.rescore_due(on_decided=outbox.stage):
            pass

    steps = {"store": store, "process": inbox.process_due, "rescore": rescore, "deliver": outbox.deliver_due}
    try:
        for step in steps.values():
            step()  # whatever is loaded once is loaded
        return {name: _step(step) for name, step in steps.items()}
    finally:
        settings.JOB_SENDER, settings.OUTBOUND_ALLOW = jobs, allowed


def _step(step: Callable[[], object]) -> dict[str, float]:
    from django.db import connection as database

    statements = 0

    def count(execute: Callable[..., Any], *told: Any) -> Any:
        nonlocal statements
        statements += 1
        return execute(*told)

    used = Used.now()
    with database.execute_wrapper(count):
        step()
    since = used.since()
    each = {f"{name}_ms": 1000 * seconds / BATCH for name, seconds in since.items()}
    return {**each, "statements": statements / BATCH}


def _stages(message_ids: list[str]) -> dict[str, dict[str, float]]:
    """Milliseconds between the rows' times, of the messages that led to a delivery (PostgreSQL's clock alone)."""
    from django.db import connection as database

    if database.vendor != "postgresql":
        return {}
    spans = ", ".join(f"extract(epoch FROM {span})" for span in STAGES.values())
    statement = (
        f"SELECT {spans} FROM crm_integration_inboundmessage m"
        " JOIN segmentation_customer c ON c.reference ="
        " convert_from(m.body, 'UTF8')::jsonb -> 'data' ->> 'customer'"
        " JOIN crm_integration_outboundmessage o ON o.customer_id = c.id AND o.delivered_at IS NOT NULL"
        " WHERE m.dedupe_key = ANY(%s)"
    )
    with database.cursor() as cursor:
        cursor.execute(statement, [message_ids])
        rows = np.array(cursor.fetchall(), dtype=float)
    if not len(rows):
        return {}
    return {name: report.quantiles(rows[:, number].tolist()) for number, name in enumerate(STAGES)}
