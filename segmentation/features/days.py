"""Whole days of the shop: a day starts at local midnight, whatever the clocks do in between."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

EPOCH = date(1970, 1, 1)
EPOCH_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_YEAR, LAST_YEAR = 1970, 2199


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which `day` starts in `zone`; events before it are before the day."""
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def local_days(instants: np.ndarray, zone: ZoneInfo) -> np.ndarray:
    """(n,) int64 day numbers of (n,) int64 microseconds since 1970 (UTC).

    Days are cut at the instants of local midnight, so they never run backwards, not even where
    clocks are set back across midnight. Nothing is older than 1970-01-01.
    """
    if len(instants) == 0:
        return np.zeros(0, dtype=np.int64)
    first, last = _year_of(int(instants.min())), _year_of(int(instants.max()))
    starts = _midnights(zone.key, max(first - 1, FIRST_YEAR), min(last + 1, LAST_YEAR))
    offset = day_number(date(max(first - 1, FIRST_YEAR), 1, 1))
    return np.maximum(np.searchsorted(starts, instants, side="right") - 1 + offset, 0)


def _year_of(microseconds: int) -> int:
    return (EPOCH_INSTANT + timedelta(microseconds=microseconds)).year


@lru_cache(maxsize=256)
def _midnights(key: str, first_year: int, last_year: int) -> np.ndarray:
    """Instants (microseconds since 1970) of every local midnight of those years."""
    return np.concatenate([_midnights_of_year(key, year) for year in range(first_year, last_year + 1)])


@lru_cache(maxsize=2048)
def _midnights_of_year(key: str, year: int) -> np.ndarray:
    zone, day, instants = ZoneInfo(key), date(year, 1, 1), []
    while day.year == year:
        instants.append((midnight(day, zone) - EPOCH_INSTANT) // timedelta(microseconds=1))
        day += timedelta(days=1)
    return np.array(instants, dtype=np.int64)
