"""Calendar and operational time."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from segmentation.simulator import SimulationConfig
from segmentation.simulator.clock import Clock, season, weekend
from segmentation.simulator.config import months_before


@pytest.fixture(scope="module")
def clock():
    return Clock.of(SimulationConfig(customers=1, months=24, seed=1, end=date(2025, 7, 1)))


@pytest.fixture
def draws():
    rng = np.random.default_rng(7)
    weekends = rng.uniform(0, 0.92, 500)
    return rng.uniform(0, 1_300, 500), rng.uniform(0, 7.5, 500) * (1 - weekends), weekends


def test_going_to_operational_time_and_back_changes_nothing(clock, draws):
    time, a, b = draws
    assert np.allclose(clock.calendar(clock.operational(time, a, b), a, b), time, atol=1e-8)


def test_operational_time_never_stands_still(clock, draws):
    time, a, b = draws
    assert (clock.operational(time + 0.01, a, b) > clock.operational(time, a, b)).all()


def test_without_amplitudes_operational_time_is_calendar_time(clock, draws):
    time = draws[0]
    assert np.allclose(clock.operational(time, np.zeros(500), np.zeros(500)), time)


def test_season_and_weekend_have_mean_zero_and_peak_where_they_should():
    year = season(np.arange(1, 366))
    assert year.mean() == pytest.approx(0, abs=1e-12)
    assert 330 <= year.argmax() + 1 <= 345
    assert weekend(np.arange(7)).mean() == pytest.approx(0)


def test_seconds_keep_the_order_and_the_day_of_times(clock):
    time = np.sort(np.random.default_rng(3).uniform(0, 100, 2_000))
    seconds = clock.seconds(time)
    assert (np.diff(seconds) >= 0).all()
    assert (seconds // 86_400 == np.floor(time)).all()


def test_the_window_is_of_whole_calendar_months():
    assert months_before(date(2025, 7, 1), 24) == date(2023, 7, 1)
    assert months_before(date(2024, 3, 31), 1) == date(2024, 2, 29)
    assert months_before(date(2025, 1, 15), 1) == date(2024, 12, 15)
    assert months_before(date(2025, 12, 31), 12) == date(2024, 12, 31)
