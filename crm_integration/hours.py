"""Received messages by connection and hour, so that a page can draw them without counting messages.

The sweep counts what is new: each message once, in the order of their ids. A hot counter in the door would make every
request of a busy connection wait for the one before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from crm_integration.models import InboundHour, InboundMessage, InboundTally
from segmentation.models import LeaseState

# Ids are given before the commit: younger rows may still be joined by one with a lower id.
SETTLED = timedelta(seconds=30)
AT_ONCE = 20_000
KEPT = timedelta(days=60)
Outcome = InboundMessage.Outcome
_BAD = frozenset({Outcome.UNREADABLE, Outcome.REJECTED, Outcome.JOB_REFUSED})

Hour = tuple[int, datetime]
Row = tuple[int, int, datetime, str, str]


def count_new(*, at_once: int = AT_ONCE) -> int:
    """Count messages that are not counted yet, up to `at_once`; returns how many. Any number of sweeps may try."""
    tally, _made = InboundTally.objects.get_or_create(pk=1)
    rows = _settled(tally.last_id, at_once)
    if not rows:
        return 0
    with transaction.atomic():
        moved = InboundTally.objects.filter(pk=1, last_id=tally.last_id).update(last_id=rows[-1][0])
        if not moved:  # another sweep counted them
            return 0
        for (connection_id, hour), counts in sorted(_by_hour(rows).items()):
            _add(connection_id, hour, counts)
    return len(rows)


def _settled(after: int, at_once: int) -> list[Row]:
    newest = timezone.now() - SETTLED
    rows = InboundMessage.objects.filter(pk__gt=after).order_by("pk")
    found: list[Row] = []
    for row in rows.values_list("pk", "connection_id", "received_at", "state", "outcome")[:at_once]:
        if row[2] > newest:
            break
        found.append(row)
    return found


def _by_hour(rows: Iterable[Row]) -> dict[Hour, dict[str, int]]:
    found: dict[Hour, dict[str, int]] = defaultdict(lambda: {"received": 0, "failed": 0, "unknown": 0})
    for _pk, connection_id, received_at, state, outcome in rows:
        counts = found[connection_id, received_at.replace(minute=0, second=0, microsecond=0)]
        counts["received"] += 1
        counts["failed"] += state == LeaseState.FAILED or outcome in _BAD
        counts["unknown"] += outcome == Outcome.UNKNOWN_TOPIC
    return found


def _add(connection_id: int, hour: datetime, counts: Mapping[str, int]) -> None:
    row, made = InboundHour.objects.get_or_create(
        connection_id=connection_id, hour=hour, defaults=dict(counts)
    )
    if not made:
        InboundHour.objects.filter(pk=row.pk).update(
            **{name: F(name) + count for name, count in counts.items()}
        )
