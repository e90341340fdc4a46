"""Days of the calendar that are said in words ("last month") and days that come round every year (birthdays).

Everything here is whole days of the shop: `today` is the day by the shop's clock, so neither a change of the clocks
nor the server's time zone moves an answer. Weeks start on Monday (ISO 8601).
"""

from __future__ import annotations

from calendar import isleap
from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

from django.utils.translation import gettext_lazy as _

from segmentation.rules.operators import Words

Range = tuple[date, date]
DAY: Final = timedelta(days=1)
# Who was born on 29 February has their day on the 28th in other years: a greeting is never late.
LEAP_DAY: Final = 229

PERIODS: Final[dict[str, Words]] = {
    "today": _("today"),
    "yesterday": _("yesterday"),
    "tomorrow": _("tomorrow"),
    "this_week": _("this week"),
    "last_week": _("last week"),
    "next_week": _("next week"),
    "this_month": _("this month"),
    "last_month": _("last month"),
    "next_month": _("next month"),
    "this_quarter": _("this quarter"),
    "last_quarter": _("last quarter"),
    "next_quarter": _("next quarter"),
    "this_year": _("this year"),
    "last_year": _("last year"),
    "next_year": _("next year"),
}
_DAYS: Final = {"today": 0, "yesterday": -1, "tomorrow": 1}
_STEPS: Final = {"this": 0, "last": -1, "next": 1}


def days_of(period: str, today: date) -> Range:
    """First and last day of a period, both in it. Raises KeyError."""
    if period in _DAYS:
        day = today + _DAYS[period] * DAY
        return day, day
    which, _underscore, unit = period.partition("_")
    return _RANGES[unit](today, _STEPS[which])


def month_day(day: date) -> int:
    """29 February is 229."""
    return day.month * 100 + day.day


@lru_cache(maxsize=512)
def anniversaries(first: date, last: date) -> tuple[int, ...]:
    """month_day of every date that comes round from `first` to `last`."""
    count = (last - first).days + 1
    days = [first + number * DAY for number in range(min(count, 366))]
    found = {month_day(day) for day in days}
    if any(day.month == 2 and day.day == 28 and not isleap(day.year) for day in days):
        found.add(LEAP_DAY)
    return tuple(sorted(found))


def _week(today: date, step: int) -> Range:
    monday = today - today.weekday() * DAY + step * 7 * DAY
    return monday, monday + 6 * DAY


def _months(today: date, first_month: int, count: int) -> Range:
    """`count` months from the one that is `first_month` months after January of this year."""
    return _first_of(today.year, first_month), _first_of(today.year, first_month + count) - DAY


def _first_of(year: int, months: int) -> date:
    return date(year + months // 12, months % 12 + 1, 1)


_RANGES: Final[dict[str, Callable[[date, int], Range]]] = {
    "week": _week,
    "month": lambda today, step: _months(today, today.month - 1 + step, 1),
    "quarter": lambda today, step: _months(today, (today.month - 1) // 3 * 3 + 3 * step, 3),
    "year": lambda today, step: _months(today, 12 * step, 12),
}
