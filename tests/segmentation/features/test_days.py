from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from segmentation.features.compute import compute
from segmentation.features.context_data import ContextData
from segmentation.features.days import EPOCH_INSTANT, day_number, local_days, midnight
from segmentation.features.frames import customers_frame, events_frame


def _day(moment: datetime, zone: str) -> int:
    microseconds = (moment - EPOCH_INSTANT) // timedelta(microseconds=1)
    return int(local_days(np.array([microseconds]), ZoneInfo(zone))[0])


@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/London", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"]
)
def test_a_local_day_is_the_date_on_the_wall(zone):
    moments = [datetime(2011, 1, 1, tzinfo=UTC) + timedelta(hours=7 * n) for n in range(2000)]
    wanted = [day_number(moment.astimezone(ZoneInfo(zone)).date()) for moment in moments]
    assert [_day(moment, zone) for moment in moments] == wanted


def test_a_day_without_a_midnight_starts_where_the_clock_does():
    # Chile set its clocks forward at midnight of 8 September 2024: 00:00 became 01:00.
    start = midnight(date(2024, 9, 8), ZoneInfo("America/Santiago"))
    assert start == datetime(2024, 9, 8, 4, tzinfo=UTC)
    assert _day(start, "America/Santiago") == day_number(date(2024, 9, 8))
    assert _day(start - timedelta(microseconds=1), "America/Santiago") == day_number(date(2024, 9, 7))


def test_days_never_run_backwards_when_clocks_are_set_back_across_midnight():
    # Until 2011 Newfoundland set its clocks back at 00:01, to 23:01 of the day before.
    moments = [datetime(2010, 11, 7, 2, tzinfo=UTC) + timedelta(minutes=n) for n in range(240)]
    days = [_day(moment, "America/St_Johns") for moment in moments]
    assert days == sorted(days)
    assert len(set(days)) == 2


@pytest.mark.parametrize(
    ("moment", "counted"),
    [
        # Seven local days before 3 April start at midnight of 27 March, London winter time; clocks change on the 31st.
        (datetime(2024, 3, 27, 0, 0, tzinfo=UTC), 1),
        (datetime(2024, 3, 26, 23, 59, 59, tzinfo=UTC), 0),
        # 2 April 23:59 London summer time is 22:59 UTC; 23:00 UTC is the next day already.
        (datetime(2024, 4, 2, 22, 59, 59, tzinfo=UTC), 1),
        (datetime(2024, 4, 2, 23, 0, tzinfo=UTC), 0),
    ],
)
def test_windows_follow_the_shops_clock_over_a_change_of_time(moment, counted):
    day = date(2024, 4, 3)
    events = events_frame([{"customer_id": 1, "kind": 1, "occurred_at": moment, "amount_minor": 100}])
    context = ContextData(as_of=day, time_zone="Europe/London")
    assert compute(events, day, context, customers=customers_frame([1]))["orders_7d"][0] == counted


def test_no_instants_no_days():
    assert len(local_days(np.zeros(0, dtype=np.int64), ZoneInfo("UTC"))) == 0
