"""An interval for every look: by hand, and what looking every night does to it and to the plain one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segmentation.ml import experiments, looks
from segmentation.ml.experiments import Moments


def test_reach_by_hand() -> None:
    """At s = 1 it is the root of 2 · (2 ln 20 + ln 2) = 13.37."""
    assert looks.reach(0.3, 0.3) == pytest.approx(3.6564, abs=1e-3)
    assert looks.reach(0.03, 0.1) == pytest.approx(
        math.sqrt(1.09 * (5.9915 + math.log(1 + 1 / 0.09))), abs=1e-3
    )
    assert looks.level(0.3, 0.3) == pytest.approx(1 - 2.56e-4, abs=1e-5)


@pytest.mark.parametrize(("error", "scale"), [(9.0, 0.1), (0.0, 1.0), (math.inf, 1.0), (1.0, 0.0)])
def test_no_more_than_most_is_asked(error: float, scale: float) -> None:
    assert looks.reach(error, scale) == looks.MOST


def test_it_is_always_wider_than_for_one_look() -> None:
    assert all(looks.reach(10.0**n, 1.0) > 2.9 for n in range(-6, 3))


def test_rows_needed() -> None:
    """With as many rows as it says the effect shows at one look in eight of ten cases: it is just detectable."""
    found = experiments.share_difference(90, 900, 10, 100)
    times = looks.rows_factor(found, 0.02, 0.02)
    assert times > (0.0300 * 2.8 / 0.02) ** 2  # more than for a single look
    enough = experiments.Estimate(
        found.value, found.low, found.high, found.standard_error / math.sqrt(times), 900, 100, 0.1, 0.1
    )
    assert looks.detectable(enough, 0.02) == pytest.approx(0.02)
    assert looks.rows_factor(enough, 0.02, 0.02) == pytest.approx(1.0)
    assert looks.rows_factor(found, 0.0, 0.02) == math.inf


def test_of_nothing_nothing_is_needed() -> None:
    found = experiments.difference(np.array([]), np.array([1.0]))
    assert looks.rows_factor(found, 1.0, 1.0) == math.inf
    assert looks.detectable(found, 1.0) == math.inf


@pytest.mark.parametrize("skewed", [False, True])
def test_looking_every_night_at_a_campaign_that_changes_nothing(skewed: bool) -> None:
    """400 campaigns without an effect, looked at on 120 nights: one look's interval is "clear" on some night in far
    more than a twentieth of them, this one in at most a twentieth.
    """
    made = np.random.default_rng(17)
    fooled = {"one look": 0, "every look": 0}
    for _campaign in range(400):
        arms = [Moments(), Moments()]
        seen = {"one look": False, "every look": False}
        for _night in range(120):
            for arm, count in enumerate((60, 15)):
                spend = made.gamma(0.5, 80.0, count) if skewed else made.random(count) < 0.5
                arms[arm] += Moments.of(np.asarray(spend, dtype=np.float64))
            found = experiments.from_moments(*arms)
            level = looks.level(found.standard_error, 0.2 * arms[1].y)
            seen["one look"] |= found.is_clear
            seen["every look"] |= experiments.from_moments(*arms, level=level).is_clear
        for way, was in seen.items():
            fooled[way] += was
    assert fooled["every look"] <= 0.05 * 400, fooled
    assert fooled["one look"] >= 0.2 * 400, fooled


def test_a_real_effect_is_found() -> None:
    """A campaign that brings a fifth more is clear within the rows that were said in at least eight of ten cases."""
    made = np.random.default_rng(3)
    shown = 0
    for _campaign in range(100):
        treated, control = made.normal(1.2, 1.0, 4000), made.normal(1.0, 1.0, 1000)
        found = experiments.difference(treated, control)
        assert looks.rows_factor(found, 0.2, 0.2) < 1
        level = looks.level(found.standard_error, 0.2)
        shown += experiments.difference(treated, control, level=level).is_clear
    assert shown >= 80
