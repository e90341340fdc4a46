"""The effect of a campaign from its two arms: by hand, against a slow reference, and how often intervals hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.ml import experiments
from segmentation.ml.experiments import Moments

amounts = st.lists(st.integers(0, 5000).map(float), min_size=0, max_size=25)


def test_by_hand() -> None:
    # means 4 and 2, variances 4 and 1, so the error is sqrt(4/3 + 1/3), df = (5/3)^2 / ((4/3)^2/2 + (1/3)^2/2)
    found = experiments.difference(np.array([2, 4, 6]), np.array([1, 2, 3]))
    assert found.value == pytest.approx(2.0)
    assert found.standard_error == pytest.approx(math.sqrt(5 / 3))
    reach = 3.185 * math.sqrt(5 / 3)  # t(.975) at df 50/17 = 2.941
    assert (found.low, found.high) == pytest.approx((2 - reach, 2 + reach), abs=0.05)
    assert (found.treated, found.control, found.treated_mean, found.control_mean) == (3, 3, 4.0, 2.0)
    assert not found.is_clear


def test_adjusted_by_hand() -> None:
    """What was spent before explains all of it: the difference is what is left, 1, and nothing varies any more."""
    before_t, before_c = np.array([1.0, 2.0, 3.0, 6.0]), np.array([0.0, 1.0, 2.0])
    found = experiments.difference(
        2 * before_t + 1, 2 * before_c, covariate_treated=before_t, covariate_control=before_c
    )
    assert found.value == pytest.approx(1.0)
    assert found.low == -math.inf  # no variance is left to tell an interval by


def test_adjusting_narrows_the_interval_without_moving_the_truth() -> None:
    made = np.random.default_rng(5)
    before = made.gamma(1.0, 40.0, 6000)
    outcome = 0.7 * before + made.normal(0, 10, 6000)
    arm = made.random(6000) < 0.9
    outcome[arm] += 3.0
    plain = experiments.difference(outcome[arm], outcome[~arm])
    adjusted = experiments.difference(
        outcome[arm], outcome[~arm], covariate_treated=before[arm], covariate_control=before[~arm]
    )
    assert adjusted.covers(3.0)
    assert plain.covers(3.0)
    assert adjusted.standard_error < 0.5 * plain.standard_error
    assert adjusted.reduction == pytest.approx(1 - (adjusted.standard_error / plain.standard_error) ** 2)


@pytest.mark.parametrize(
    ("treated", "control"), [([], []), ([1.0, 2.0], []), ([], [1.0]), ([1.0, 2.0], [3.0])]
)
def test_an_arm_with_too_little_has_no_interval(treated: list[float], control: list[float]) -> None:
    found = experiments.difference(np.array(treated), np.array(control))
    assert not found.is_known
    assert not found.is_clear
    assert math.isnan(found.value) == (not treated or not control)


def test_no_orders_at_all_is_no_certainty() -> None:
    nobody = experiments.difference(np.zeros(50), np.zeros(20))
    assert nobody.value == 0.0
    assert not nobody.is_known
    shares = experiments.share_difference(0, 50, 0, 20)
    assert shares.low == pytest.approx(-0.1611, abs=1e-3)  # Wilson's upper end of 0 in 20: z²/(20 + z²)
    assert shares.high == pytest.approx(0.0714, abs=1e-3)
    assert not shares.is_clear


def test_newcombes_own_example() -> None:
    """Newcombe 1998, table II, case (a): 56/70 and 48/80 by method 10 gives 0.0524 to 0.3339."""
    found = experiments.share_difference(56, 70, 48, 80)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_bad_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="covariate"):
        experiments.difference(np.ones(3), np.ones(3), covariate_treated=np.ones(3))
    with pytest.raises(ValueError, match="covariates"):
        experiments.Moments.of(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="missing"):
        experiments.difference(np.array([1.0, np.nan]), np.ones(3))
    with pytest.raises(ValueError, match="hits"):
        experiments.share_difference(5, 4, 0, 1)


@settings(max_examples=60, deadline=None)
@given(amounts, amounts, st.integers(0, 25))
def test_parts_add_up_to_the_whole(outcome: list[float], before: list[float], cut: int) -> None:
    n = min(len(outcome), len(before))
    y, x = np.array(outcome[:n]), np.array(before[:n])
    whole, parts = Moments.of(y, x), Moments.of(y[:cut], x[:cut]) + Moments.of(y[cut:], x[cut:])
    for name in ("n", "y", "x", "syy", "sxx", "sxy"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-9, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(amounts, amounts)
def test_turning_the_arms_round_turns_the_answer_round(one: list[float], other: list[float]) -> None:
    a, b = np.array(one), np.array(other)
    there, back = experiments.difference(a, b), experiments.difference(b, a)
    if a.size and b.size:
        assert there.value == pytest.approx(-back.value)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


@settings(max_examples=60, deadline=None)
@given(amounts, amounts, st.floats(-50, 50), st.floats(0.1, 9))
def test_a_covariate_in_other_units_changes_nothing(
    one: list[float], other: list[float], shift: float, scale: float
) -> None:
    made = np.random.default_rng(1)
    a, b = np.array(one), np.array(other)
    x, z = made.normal(size=len(a)), made.normal(size=len(b))
    plain = experiments.difference(a, b, covariate_treated=x, covariate_control=z)
    moved = experiments.difference(
        a, b, covariate_treated=scale * x + shift, covariate_control=scale * z + shift
    )
    assert moved.value == pytest.approx(plain.value, rel=1e-6, abs=1e-6, nan_ok=True)


def test_intervals_hold_as_often_as_they_say() -> None:
    """400 draws of skewed spend, a holdout of a tenth: 95 % intervals hold the truth in 92–98 %, plain and adjusted."""
    made = np.random.default_rng(11)
    held = {"plain": 0, "adjusted": 0, "share": 0}
    for _ in range(400):
        before = made.gamma(0.5, 60.0, 1500)
        arm = made.random(1500) < 0.9
        buys = made.random(1500) < np.where(arm, 0.26, 0.2)
        spend = buys * made.gamma(2.0, 20.0, 1500) + 0.3 * before
        truth = 0.06 * 40.0
        x = {"covariate_treated": before[arm], "covariate_control": before[~arm]}
        held["plain"] += experiments.difference(spend[arm], spend[~arm]).covers(truth)
        held["adjusted"] += experiments.difference(spend[arm], spend[~arm], **x).covers(truth)
        hits = int(buys[arm].sum()), int(arm.sum()), int(buys[~arm].sum()), int((~arm).sum())
        held["share"] += experiments.share_difference(*hits).covers(0.06)
    assert {name: 368 <= count <= 392 for name, count in held.items()} == dict.fromkeys(held, True), held


def test_strata_are_compared_within_themselves():
    """Of 90 and 10 rows, and of 20 and 20: weights n·m / (n + m) are 9 and 10. One stratum is the plain difference."""
    rng = np.random.default_rng(3)
    early = (Moments.of(rng.normal(16, 1, 90)), Moments.of(rng.normal(10, 1, 10)))
    late = (Moments.of(rng.normal(2, 1, 20)), Moments.of(rng.normal(0, 1, 20)))
    found = experiments.stratified([early, late])
    gaps = [one.y - other.y for one, other in (early, late)]
    assert found.value == pytest.approx((9 * gaps[0] + 10 * gaps[1]) / 19)
    error = [
        math.hypot(*(math.sqrt(arm.syy / (arm.n - 1) / arm.n) for arm in pair)) for pair in (early, late)
    ]
    assert found.standard_error == pytest.approx(math.hypot(9 * error[0], 10 * error[1]) / 19)
    assert (found.treated, found.control) == (110, 30)
    assert found.treated_mean - found.control_mean == pytest.approx(found.value)
    assert experiments.stratified([early]) == experiments.from_moments(*early)
    lonely = (Moments.of(np.array([50.0])), Moments.of(rng.normal(0, 1, 20)))
    assert experiments.stratified([early, lonely]) == experiments.from_moments(*early)
    assert not experiments.stratified([]).is_known
