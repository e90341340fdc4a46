"""The customer's clock: whether it is an hour for a campaign there, and when it will be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from segmentation.decisions.terms import CampaignTerms
from segmentation.models import Shop


def moment(shop: Shop, today: date, now: datetime) -> datetime:
    """The instant that a decision about `today` is made at: now, or now's time of day on that day."""
    local = now.astimezone(shop.zone)
    return (
        now
        if local.date() == today
        else datetime.combine(today, local.time(), tzinfo=shop.zone).astimezone(UTC)
    )


def noon(shop: Shop, day: date) -> datetime:
    return datetime.combine(day, time(12), tzinfo=shop.zone).astimezone(UTC)


@lru_cache(maxsize=1024)
def zone(name: str, default: str) -> ZoneInfo:
    """The zone of this name; the default where it is empty or no zone."""
    try:
        return ZoneInfo(name or default)
    except (KeyError, ValueError, OSError):
        return ZoneInfo(default)


def is_open(terms: CampaignTerms, local: datetime) -> bool:
    """Whether the campaign may give something at this local time: in its own window, and not when the shop is quiet."""
    day, at = local.weekday(), local.time()
    if any(days and day not in days for days in (terms.weekdays, terms.contact_days)):
        return False
    if terms.quiet is not None and _inside(terms.quiet, at):
        return False
    return terms.hours is None or _inside(terms.hours, at)


def _inside(span: tuple[time, time], at: time) -> bool:
    """A span from 22:00 to 06:00 goes over midnight."""
    start, end = span
    return start <= at < end if start <= end else at >= start or at < end


def next_opening(terms: CampaignTerms, local: datetime) -> datetime:
    """The first instant from `local` on (UTC) at which the window is open; a clock change is the zone's business."""
    if is_open(terms, local):
        return local.astimezone(UTC)
    starts = (
        {time(0)}
        | ({terms.hours[0]} if terms.hours else set())
        | ({terms.quiet[1]} if terms.quiet else set())
    )
    for ahead in range(9):
        day = local.date() + timedelta(days=ahead)
        for at in sorted(starts):
            # By way of UTC: an hour that a clock change leaves out becomes the one after it.
            begins = datetime.combine(day, at, tzinfo=local.tzinfo).astimezone(UTC)
            if begins > local.astimezone(UTC) and is_open(terms, begins.astimezone(local.tzinfo)):
                return begins
    return local.astimezone(UTC) + timedelta(days=1)


def is_ever_open(terms: CampaignTerms) -> bool:
    """Whether the windows of the campaign and of the shop have a minute of some day in common."""
    week = (datetime(2024, 1, 1 + day, tzinfo=UTC) for day in range(7))
    return any(is_open(terms, day + timedelta(minutes=minute)) for day in week for minute in range(24 * 60))


def outside(terms: CampaignTerms, zones: Sequence[ZoneInfo], of_row: np.ndarray, at: datetime) -> np.ndarray:
    """(n,) True where the window is shut. zones: those of the shop's customers; of_row: (n,) which one."""
    shut = np.array([not is_open(terms, at.astimezone(one)) for one in zones], dtype=bool)
    return shut[of_row]


def add_business_time(start: datetime, minutes: int, shop: Shop) -> datetime:
    """`start` plus so many minutes of the shop's business hours (UTC). Without business days: of every hour."""
    if not shop.business_days or shop.business_from >= shop.business_to:
        return start + timedelta(minutes=minutes)
    left = timedelta(minutes=minutes)
    day = start.astimezone(shop.zone).date()
    while True:
        if day.weekday() in shop.business_days:
            opens = datetime.combine(day, shop.business_from, tzinfo=shop.zone).astimezone(UTC)
            closes = datetime.combine(day, shop.business_to, tzinfo=shop.zone).astimezone(UTC)
            begin = max(opens, start)
            if begin + left <= closes:
                return begin + left
            left -= max(closes - begin, timedelta(0))
        day += timedelta(days=1)
