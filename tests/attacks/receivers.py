"""A receiver that fails in each way there is, beside one that is well: does the other one's news come later?

Two workers deliver to both, whose messages come at one pace. It is told how long the messages of the one that is well
take from being staged to being delivered, beside each kind of bad one and, right before, beside another that is well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection as database
from django.test import override_settings

from tests.crm_integration import fake_crm, fixtures

WORKERS = 2
EVERY = 0.025  # seconds from message to message
PATIENCE = 300.0  # for the well one's news; a machine may stand still for a while
# A worker looks again so long after it found nothing; in the product somebody nudges it.
LOOK = 0.005


def _answers(let_go: threading.Event) -> dict[str, Any]:
    return {
        "500": (500, {}, b"broken"),
        "429 with Retry-After": (429, {"Retry-After": "1"}, b""),
        "410": (410, {}, b"gone"),
        "redirect": (302, {"Location": "http://169.254.169.254/"}, b""),
        "no answer": lambda handler: let_go.wait(PATIENCE),
        "hangs up": fake_crm.hang_up,
        "slow head": fake_crm.drip_head,
        "slow body": fake_crm.drip_body,
        "endless reply": fake_crm.endless,
        "no TLS": (200, {}, b""),
    }


@dataclass
class Result:
    each: int
    well_ms: dict[str, float] = field(default_factory=dict)  # 95th percentile, by what comes next
    beside_ms: dict[str, float] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)  # kinds beside which the well one did not get everything
    unsaid: list[str] = field(default_factory=list)  # kinds whose trouble no attempt tells

    @property
    def ratios(self) -> dict[str, float]:
        """How much longer the well one's news take beside a bad one than beside another that is well."""
        return {kind: took / self.well_ms[kind] for kind, took in self.beside_ms.items()}

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.unsaid)


def run(each: int, kinds: Sequence[str] = ()) -> Result:
    result = Result(each)
    _measured("warm", None, min(each, 40), threading.Event())
    let_go = threading.Event()
    chosen = {kind: answer for kind, answer in _answers(let_go).items() if not kinds or kind in kinds}
    for kind, answer in chosen.items():
        let_go.clear()
        result.well_ms[kind] = _measured(f"before {kind}", (204, {}, b""), each, let_go)[0]
        took, delivered, said = _measured(kind, answer, each, let_go)
        result.beside_ms[kind] = took
        if delivered < each:
            result.lost.append(kind)
        if not said:
            result.unsaid.append(kind)
    return result


def _measured(kind: str, answer: Any, each: int, let_go: threading.Event) -> tuple[float, int, bool]:
    """(95th percentile in milliseconds, how many arrived, whether staff can read what is wrong with the other)."""
    from crm_integration.models import Connection, DeliveryAttempt, OutboundMessage

    with fake_crm.running() as well, fake_crm.running() as bad:
        bad.answers = [answer]
        with override_settings(OUTBOUND_ALLOW=[well.pair, bad.pair]):
            good_row = fixtures.connection(_slug("well", kind), url=well.url)
            rows = [good_row]
            if answer is not None:
                url = bad.url.replace("http://", "https://") if kind == "no TLS" else bad.url
                rows.append(fixtures.connection(_slug("bad", kind), url=url))
            with _workers():
                _stage(rows, each)
                mine = OutboundMessage.objects.filter(connection=good_row)
                _wait(lambda: mine.filter(delivered_at__isnull=False).count() == each)
            theirs = OutboundMessage.objects.filter(connection=rows[-1])
            is_waited_for = theirs.filter(state="running").exists()
            Connection.objects.filter(pk__in=[row.pk for row in rows]).update(
                is_active=False, sends_outbound=False
            )
            let_go.set()
            # Whoever waits aside writes down how it went: nobody may do so after the end.
            _wait(lambda: not theirs.filter(state="running").exists())
    waits = sorted(
        (delivered - created).total_seconds()
        for created, delivered in mine.values_list("created_at", "delivered_at")
        if delivered is not None
    )
    told = DeliveryAttempt.objects.filter(message__connection=rows[-1]).exclude(error="").exists()
    percentile = waits[int(0.95 * (len(waits) - 1))] if waits else PATIENCE
    return 1000 * percentile, len(waits), answer is None or told or is_waited_for


def _slug(role: str, kind: str) -> str:
    return f"{role}-{kind}".lower().replace(" ", "-")


def _stage(rows: list[Any], each: int) -> None:
    from crm_integration import payloads
    from crm_integration.models import OutboundMessage

    due = time.monotonic()
    for number in range(each):
        for row in rows:
            OutboundMessage.objects.create(
                connection=row, message_id=f"r_{number}", topic=payloads.TEST_TOPIC, body=b"{}"
            )
        due += EVERY
        time.sleep(max(0.0, due - time.monotonic()))


@contextmanager
def _workers() -> Iterator[None]:
    over = threading.Event()
    threads = [threading.Thread(target=_work, args=(over,), daemon=True) for _worker in range(WORKERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)


def _work(over: threading.Event) -> None:
    from crm_integration import outbox

    try:
        while not over.is_set():
            outbox.deliver_due(seconds=1)
            over.wait(LOOK)
    finally:
        database.close()


def _wait(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so() and time.monotonic() < until:
        time.sleep(0.02)
