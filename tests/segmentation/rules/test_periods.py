"""Days that are said in words, and birthdays, over leap days and the ends of years."""

from __future__ import annotations

from datetime import date

import pytest

from segmentation.rules import periods


@pytest.mark.parametrize(
    ("period", "today", "first", "last"),
    [
        ("today", date(2024, 2, 29), date(2024, 2, 29), date(2024, 2, 29)),
        ("yesterday", date(2024, 3, 1), date(2024, 2, 29), date(2024, 2, 29)),
        ("tomorrow", date(2023, 2, 28), date(2023, 3, 1), date(2023, 3, 1)),
        ("this_week", date(2024, 3, 3), date(2024, 2, 26), date(2024, 3, 3)),
        ("last_week", date(2024, 1, 1), date(2023, 12, 25), date(2023, 12, 31)),
        ("next_week", date(2024, 12, 30), date(2025, 1, 6), date(2025, 1, 12)),
        ("this_month", date(2024, 2, 10), date(2024, 2, 1), date(2024, 2, 29)),
        ("last_month", date(2024, 1, 31), date(2023, 12, 1), date(2023, 12, 31)),
        ("next_month", date(2023, 12, 31), date(2024, 1, 1), date(2024, 1, 31)),
        ("this_quarter", date(2024, 5, 1), date(2024, 4, 1), date(2024, 6, 30)),
        ("last_quarter", date(2024, 2, 1), date(2023, 10, 1), date(2023, 12, 31)),
        ("next_quarter", date(2024, 11, 1), date(2025, 1, 1), date(2025, 3, 31)),
        ("this_year", date(2024, 2, 29), date(2024, 1, 1), date(2024, 12, 31)),
        ("last_year", date(2024, 2, 29), date(2023, 1, 1), date(2023, 12, 31)),
        ("next_year", date(2024, 2, 29), date(2025, 1, 1), date(2025, 12, 31)),
    ],
)
def test_a_period_has_a_first_and_a_last_day(period, today, first, last):
    assert periods.days_of(period, today) == (first, last)


def test_every_period_has_been_looked_at():
    assert all(periods.days_of(period, date(2024, 2, 29)) for period in periods.PERIODS)


@pytest.mark.parametrize(
    ("first", "last", "born_on_29_february"),
    [
        (date(2024, 2, 28), date(2024, 2, 28), False),
        (date(2024, 2, 29), date(2024, 2, 29), True),
        (date(2023, 2, 28), date(2023, 2, 28), True),
        (date(2023, 3, 1), date(2023, 3, 1), False),
        (date(2023, 3, 1), date(2024, 2, 28), False),
        (date(2023, 3, 1), date(2024, 2, 29), True),
        (date(2100, 2, 28), date(2100, 2, 28), True),
    ],
)
def test_who_was_born_on_a_leap_day_has_their_day_on_the_28th_in_other_years(
    first, last, born_on_29_february
):
    assert (periods.LEAP_DAY in periods.anniversaries(first, last)) is born_on_29_february


def test_a_window_over_new_year_holds_both_sides():
    assert periods.anniversaries(date(2023, 12, 31), date(2024, 1, 1)) == (101, 1231)
