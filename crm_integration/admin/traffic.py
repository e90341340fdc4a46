"""How a connection's messages flow: by hour, how late, how often wrong, and whether it has gone quiet.

Hours come from their own small table; everything else from the newest few hundred messages. Nothing counts a table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from crm_integration import silence
from crm_integration.admin.scheme_words import span
from crm_integration.models import Connection, InboundHour, InboundMessage, OutboundMessage, Reconciliation
from segmentation.dashboard import words
from segmentation.dashboard.charts import Chart, Table
from segmentation.models import Decision, LeaseState

SAMPLE = 500
CUSTOMERS = 100
HOURS_SHOWN = 48
DEAD_CAP = 1000
TOPICS_SHOWN = 8
HOUR = timedelta(hours=1)
Outcome = InboundMessage.Outcome


@dataclass(frozen=True)
class Lag:
    """Seconds from receiving, by the newest messages: half are faster than `half`, 95 % faster than `most`."""

    half: str
    most: str


@dataclass(frozen=True)
class Silence:
    """`is_odd`: longer than any pause of the last two weeks, by half."""

    since: datetime
    lasts: str
    usual: str
    is_odd: bool


@dataclass(frozen=True)
class Outgoing:
    oldest_due: datetime | None
    dead: str
    tried_again_at: datetime | None


@dataclass(frozen=True)
class Traffic:
    chart: Chart
    last_received: datetime | None
    received: int
    failed: int
    unknown: int
    done: Lag | None
    decided: Lag | None
    silence: Silence | None
    topics: tuple[tuple[str, int], ...]
    sample: int
    outgoing: Outgoing
    comparisons: tuple[Reconciliation, ...]


@dataclass(frozen=True)
class _Row:
    received_at: datetime
    finished_at: datetime | None
    state: str
    outcome: str
    topic: str
    detail: Any


def of(connection: Connection) -> Traffic:
    now = timezone.now()
    hours = _hours(connection, now)
    rows = _sample(connection)
    day = [hour for hour in hours if hour.hour > now - timedelta(days=1)]
    last = rows[0].received_at if rows else None
    return Traffic(
        chart=_chart(hours, now),
        last_received=last,
        received=sum(hour.received for hour in day),
        failed=sum(hour.failed for hour in day),
        unknown=sum(hour.unknown for hour in day),
        done=_lag([row.finished_at - row.received_at for row in rows if row.finished_at and _is_done(row)]),
        decided=_lag(_until_decided(rows)),
        silence=_silence([hour.hour for hour in hours if hour.received], last, now),
        topics=tuple(_unknown_topics(rows)),
        sample=len(rows),
        outgoing=_outgoing(connection),
        comparisons=tuple(Reconciliation.objects.filter(connection=connection).order_by("-pk")[:5]),
    )


def _hours(connection: Connection, now: datetime) -> list[InboundHour]:
    rows = InboundHour.objects.filter(
        connection=connection, hour__gt=now - timedelta(days=silence.DAYS_KNOWN)
    )
    return list(rows.order_by("hour"))


def _sample(connection: Connection) -> list[_Row]:
    names = ("received_at", "finished_at", "state", "outcome", "topic", "detail")
    rows = InboundMessage.objects.filter(connection=connection).order_by("-pk")
    return [_Row(*row) for row in rows.values_list(*names)[:SAMPLE]]


def _is_done(row: _Row) -> bool:
    """Processed at once and not again days later: a replay would count the days."""
    return row.state == LeaseState.DONE and row.finished_at is not None


def _until_decided(rows: Sequence[_Row]) -> list[timedelta]:
    """From a message to the next decision about each customer whom it changed."""
    told = [
        (customer_id, row.received_at) for row in rows for customer_id in row.detail.get("customer_ids") or ()
    ][:CUSTOMERS]
    if not told:
        return []
    oldest = min(at for _customer, at in told)
    decided = Decision.objects.filter(customer__in={key for key, _at in told}, decided_at__gte=oldest)
    moments: dict[int, list[datetime]] = {}
    for customer_id, at in decided.order_by("pk").values_list("customer_id", "decided_at")[: 10 * CUSTOMERS]:
        moments.setdefault(customer_id, []).append(at)
    found = []
    for customer_id, received_at in told:
        later = [at for at in moments.get(customer_id, ()) if at >= received_at]
        if later:
            found.append(min(later) - received_at)
    return found


def _lag(waits: Sequence[timedelta]) -> Lag | None:
    if not waits:
        return None
    seconds = sorted(max(0.0, wait.total_seconds()) for wait in waits)
    return Lag(_seconds(seconds[len(seconds) // 2]), _seconds(seconds[int(0.95 * (len(seconds) - 1))]))


def _seconds(value: float) -> str:
    return _("%(seconds)s s") % {"seconds": words.number(value, 2 if value < 10 else 0)}


def _silence(hours: Sequence[datetime], last: datetime | None, now: datetime) -> Silence | None:
    found = silence.of(hours, last, now)
    return Silence(found.since, _span(found.lasts), _span(found.usual), found.is_odd) if found else None


def _span(length: timedelta) -> str:
    return span(max(0, int(length.total_seconds())))


def _unknown_topics(rows: Sequence[_Row]) -> list[tuple[str, int]]:
    found = Counter(row.topic or words.NOTHING for row in rows if row.outcome == Outcome.UNKNOWN_TOPIC)
    return found.most_common(TOPICS_SHOWN)


def _outgoing(connection: Connection) -> Outgoing:
    rows = OutboundMessage.objects.filter(connection=connection)
    waiting = rows.filter(state__in=[LeaseState.QUEUED, LeaseState.RUNNING]).order_by("run_after")
    oldest = waiting.values_list("created_at", "run_after", "attempts").first()
    dead = len(rows.filter(state=LeaseState.FAILED).values_list("pk", flat=True)[: DEAD_CAP + 1])
    return Outgoing(
        oldest_due=oldest[0] if oldest else None,
        dead=str(dead) if dead <= DEAD_CAP else f"{DEAD_CAP}+",
        tried_again_at=oldest[1] if oldest and oldest[2] else None,
    )


def _chart(hours: Sequence[InboundHour], now: datetime) -> Chart:
    """One bar an hour for two days: what was fine, and on top what failed."""
    known = {hour.hour: hour for hour in hours}
    this = now.replace(minute=0, second=0, microsecond=0)
    slots = [this - number * HOUR for number in reversed(range(HOURS_SHOWN))]
    labels = [timezone.localtime(slot).strftime("%H:%M") for slot in slots]
    received = [known[slot].received if slot in known else 0 for slot in slots]
    failed = [known[slot].failed if slot in known else 0 for slot in slots]
    fine = [all_of - bad for all_of, bad in zip(received, failed, strict=True)]
    config = {
        "type": "bar",
        "data": {
            "labels": labels,
            "datasets": [
                {"label": _("fine"), "data": fine, "tone": "teal"},
                {"label": _("failed"), "data": failed, "tone": "rose"},
            ],
        },
        "options": {"scales": {"x": {"stacked": True}, "y": {"stacked": True, "beginAtZero": True}}},
    }
    table = Table(
        headers=(_("Hour"), _("Received"), _("Failed")),
        rows=tuple(
            (words.moment(slot), words.number(count), words.number(bad))
            for slot, count, bad in zip(slots, received, failed, strict=True)
            if count
        ),
    )
    summary = _("%(count)s messages in two days") % {"count": words.number(sum(received))}
    return Chart("traffic", _("Received by hour"), summary, config, table, height=180)
