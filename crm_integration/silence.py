"""Connections that have gone quiet: for longer than they usually are. Staff are told, until something comes again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from crm_integration.models import Connection, InboundHour, InboundMessage
from segmentation import alerts

DAYS_KNOWN = 14
# With fewer hours of traffic, or before a night and a weekend have been seen, nobody can say what is usual.
ENOUGH_HOURS = 12
ENOUGH_TIME = timedelta(days=7)
HOUR = timedelta(hours=1)
TOO_LONG = 1.5


@dataclass(frozen=True)
class Silence:
    """`usual`: the longest pause of the last two weeks. `is_odd`: this one is longer, by half."""

    since: datetime
    lasts: timedelta
    usual: timedelta
    is_odd: bool


def of(hours: Sequence[datetime], last: datetime | None, now: datetime) -> Silence | None:
    """How long nothing came to a connection with messages in these hours; None where nothing ever did."""
    if last is None:
        return None
    lasts = now - last
    pauses = [later - earlier - HOUR for earlier, later in itertools.pairwise(hours)]
    usual = max([*pauses, HOUR])
    is_known = len(hours) >= ENOUGH_HOURS and hours[-1] - hours[0] >= ENOUGH_TIME
    return Silence(last, lasts, usual, is_known and lasts > usual * TOO_LONG)


def watch(now: datetime | None = None) -> None:
    """An alert for each connection that is quiet for too long; it is closed when messages come again."""
    now = now or timezone.now()
    listening = Connection.objects.filter(Q(accepts_inbound=True) | Q(reads_queue=True), is_active=True)
    names = dict(listening.values_list("pk", "name"))
    for key, name in Connection.objects.values_list("pk", "name"):
        if key in names:
            _watch_one(key, name, now)
        else:
            alerts.resolve(_key(key))


def _watch_one(connection_id: int, name: str, now: datetime) -> None:
    received = InboundMessage.objects.filter(connection=connection_id).order_by("-pk")
    silence = of(busy_hours(connection_id, now), received.values_list("received_at", flat=True).first(), now)
    if silence is None:
        return
    if silence.is_odd:
        alerts.raise_once(_key(connection_id), _sentence(name, silence))
    elif silence.lasts <= silence.usual * TOO_LONG:
        # Not where the traffic before the silence has been forgotten meanwhile: it still lasts.
        alerts.resolve(_key(connection_id))


def busy_hours(connection_id: int, now: datetime) -> list[datetime]:
    """The hours of the last two weeks in which something came."""
    rows = InboundHour.objects.filter(
        connection=connection_id, hour__gt=now - timedelta(days=DAYS_KNOWN), received__gt=0
    )
    return list(rows.order_by("hour").values_list("hour", flat=True))


def _sentence(name: str, silence: Silence) -> str:
    return _(
        "Nothing has come from “%(connection)s” for %(lasts)d hours, and its longest pause of the last two weeks was "
        "%(usual)d. Look whether the CRM still sends: some switch a webhook off after failures."
    ) % {
        "connection": name,
        "lasts": silence.lasts / HOUR,
        "usual": math.ceil(silence.usual / HOUR),
    }


def _key(connection_id: int) -> str:
    return f"connection-quiet-{connection_id}"
