"""What starts a campaign for a customer, and when it last happened."""

from __future__ import annotations

import calendar
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from segmentation import bulk
from segmentation.decisions.terms import CampaignTerms, Trigger
from segmentation.models import Decision, Event, Membership, PastMembership

NEVER = np.datetime64("NaT", "us")


@dataclass(frozen=True)
class Asked:
    """Whose triggers, and as of when. rows: id (own, or of somebody merged into them) → row."""

    rows: Mapping[int, int]
    height: int
    today: date
    at: datetime
    cause: int
    zone: ZoneInfo
    is_past: bool = False


def moments(terms: CampaignTerms, asked: Asked) -> np.ndarray:
    """(n,) datetime64[us] (UTC) when the campaign was last triggered within its days; NaT where it was not."""
    if terms.trigger == Trigger.BATCH:
        return _all(asked, asked.at if asked.cause == Decision.Cause.BATCH else None)
    if terms.trigger == Trigger.SCHEDULE:
        return _all(asked, _scheduled(terms, asked))
    since = asked.at - timedelta(days=terms.trigger_days)
    happened = _happened(terms, sorted(asked.rows), since)
    if asked.is_past:
        happened = [(key, at) for key, at in happened if at <= asked.at]
    return _latest(asked, happened)


def is_scheduled(terms: CampaignTerms, day: date) -> bool:
    """Whether the day is one of the campaign's; the 31st of a shorter month is its last day."""
    if terms.schedule_weekdays and day.weekday() in terms.schedule_weekdays:
        return True
    if terms.schedule_month_day is None:
        return False
    last = calendar.monthrange(day.year, day.month)[1]
    return day.day == min(terms.schedule_month_day, last)


def _scheduled(terms: CampaignTerms, asked: Asked) -> datetime | None:
    """The beginning of the newest of its days that still counts."""
    for ago in range(terms.trigger_days):
        day = asked.today - timedelta(days=ago)
        if is_scheduled(terms, day):
            return datetime.combine(day, time(0), tzinfo=asked.zone).astimezone(UTC)
    return None


def _happened(terms: CampaignTerms, ids: Sequence[int], since: datetime) -> list[tuple[int, datetime]]:
    """(customer id, moment), in any order and as often as it happened."""
    if terms.trigger == Trigger.SEGMENT_ENTRY:
        inside = Membership.objects.filter(segment=terms.trigger_segment, entered_at__gte=since)
        gone = PastMembership.objects.filter(segment=terms.trigger_segment, entered_at__gte=since)
        asked = ("customer_id", "entered_at")
        return [*bulk.values_in(inside, ids, *asked), *bulk.values_in(gone, ids, *asked)]
    if terms.trigger == Trigger.SEGMENT_EXIT:
        left = PastMembership.objects.filter(segment=terms.trigger_segment, left_at__gte=since)
        back = Membership.objects.filter(segment=terms.trigger_segment)
        there = {key for (key,) in bulk.values_in(back, ids, "customer_id")}
        return [row for row in bulk.values_in(left, ids, "customer_id", "left_at") if row[0] not in there]
    events = Event.objects.filter(
        kind=terms.trigger_event or 0, occurred_at__gte=since, superseded_at__isnull=True
    )
    return list(bulk.values_in(events, ids, "customer_id", "occurred_at"))


def _latest(asked: Asked, happened: Sequence[tuple[int, datetime]]) -> np.ndarray:
    out = np.full(asked.height, NEVER)
    if not happened:
        return out
    rows = pl.DataFrame(
        {
            "row": [asked.rows[key] for key, _at in happened],
            "at": [at.astimezone(UTC).replace(tzinfo=None) for _key, at in happened],
        },
        schema={"row": pl.Int64, "at": pl.Datetime("us")},
    )
    newest = rows.group_by("row").agg(pl.col("at").max())
    out[newest["row"].to_numpy()] = newest["at"].to_numpy()
    return out


def _all(asked: Asked, at: datetime | None) -> np.ndarray:
    value = NEVER if at is None else np.datetime64(at.astimezone(UTC).replace(tzinfo=None), "us")
    return np.full(asked.height, value)
