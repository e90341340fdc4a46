"""Groups of buyers by week, what is expected of them, and how that is tested; on arrays, without a database."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation.demand import forecast, groups
from segmentation.demand.groups import LAPSED, NEW, OTHER, Tallies


def by_hand(weeks_of_orders: list[int], at: int) -> int:
    """The group at the start of week `at`, one order after the other."""
    before = [week for week in weeks_of_orders if week < at]
    if not before:
        return NEW
    ago, in_year = at - max(before), sum(at - week <= 52 for week in before)
    if ago > 52:
        return LAPSED
    recency = next(n for n, most in enumerate((4, 13, 26, 52)) if ago <= most)
    return recency * 3 + (0 if in_year == 1 else 1 if in_year <= 3 else 2)


def test_groups_are_those_of_the_definition_week_by_week():
    rng = np.random.default_rng(5)
    weeks = 120
    lives = [sorted(rng.integers(0, weeks, rng.integers(0, 9)).tolist()) for _ in range(40)]
    lives += [[0], [weeks - 1], [3, 3, 3, 3], [10, 14, 62, 63]]
    customer = np.array([who for who, life in enumerate(lives) for _ in life])
    week = np.array([at for life in lives for at in life])
    found = groups.groups_by_week(customer, week, customers=len(lives), weeks=weeks)
    assert found.tolist() == [[by_hand(life, at) for at in range(weeks + 1)] for life in lives]


def test_what_is_bought_counts_for_the_group_at_the_weeks_beginning():
    """One buyer of weeks 0 and 1, one who is not profiled."""
    customer, week = np.array([0, 0, 1]), np.array([0, 1, 1])
    found = groups.groups_by_week(customer, week, customers=2, weeks=2)
    found[1] = OTHER
    told = groups.tally(
        found,
        customer=customer,
        week=week,
        item=np.array([0, 1, 1]),
        pieces=np.array([2.0, 3.0, 7.0]),
        items=2,
    )
    assert told.units[0, NEW].tolist() == [2, 0]
    assert told.units[1, 0].tolist() == [0, 3]
    assert told.units[1, OTHER].tolist() == [0, 7]
    assert told.moves[0, NEW, 0] == 1
    assert told.moves[1, 0, 1] == 1
    assert told.sizes[:, 0].tolist() == [0, 1, 0]
    assert told.sizes[:, OTHER].tolist() == [1, 1, 1]


def world(weeks: int, *, rate=0.5, heads=200, leaving=0.0, arrivals=0.0, seed=0) -> Tallies:
    """One group whose heads buy `rate` pieces a week, leave with that chance, and are joined by so many a week."""
    rng = np.random.default_rng(seed)
    sizes = np.zeros((weeks + 1, groups.GROUPS))
    moves = np.zeros((weeks, groups.GROUPS, groups.GROUPS))
    units = np.zeros((weeks, groups.GROUPS, 1))
    sizes[0, 0] = heads
    for at in range(weeks):
        units[at, 0, 0] = rng.poisson(rate * sizes[at, 0])
        moves[at, 0, LAPSED] = gone = sizes[at, 0] * leaving
        moves[at, 0, 0] = sizes[at, 0] - gone
        moves[at, LAPSED, LAPSED] = sizes[at, LAPSED]
        moves[at, NEW, 0] = arrivals
        sizes[at + 1] = sizes[at] @ np.eye(groups.GROUPS) + 0.0
        sizes[at + 1, 0] = moves[at, 0, 0] + arrivals
        sizes[at + 1, LAPSED] = sizes[at, LAPSED] + gone
    for alone in (NEW, OTHER):
        sizes[:, alone] = 1.0
        moves[:, alone, alone] = 1.0
    return Tallies(sizes, moves, units)


def test_expectation_is_size_times_rate_as_the_group_shrinks():
    told = world(40, leaving=0.1, heads=10_000)
    units, sizes = forecast.expect(told, origin=40, horizon=3)
    left = told.sizes[40, 0]
    rate = told.units[14:40, 0, 0].sum() / told.sizes[14:40, 0].sum()
    assert units[0] == pytest.approx(rate * left * (1 + 0.9 + 0.81))
    assert sizes[0] == pytest.approx(left * 0.9**3)
    assert sizes[LAPSED] == pytest.approx(told.sizes[40, LAPSED] + left * (1 - 0.9**3))


def test_new_customers_come_as_they_came():
    told = world(40, arrivals=30.0)
    _units, sizes = forecast.expect(told, origin=40, horizon=2)
    assert sizes[0] == pytest.approx(told.sizes[40, 0] + 60)


def test_only_weeks_before_the_origin_are_looked_at():
    told, changed = world(40), world(40)
    changed.units[30:] = 999
    changed.moves[30:] = 0
    changed.sizes[31:] = 7
    for one in (told, changed):
        one.sizes[30] = told.sizes[30]
    found, same = (forecast.forecast(one, origin=30, horizon=4, seed=1, draws=20) for one in (told, changed))
    assert np.array_equal(found.expected, same.expected)
    assert np.array_equal(found.low, same.low)
    assert np.array_equal(found.high, same.high)


def test_eight_of_ten_outcomes_lie_in_the_range():
    """120 shops without a trend: a range of 80 % holds 71 to 89 % of them (three standard errors)."""
    inside = 0
    for seed in range(120):
        told = world(34, seed=seed)
        found = forecast.forecast(told, origin=30, horizon=4, seed=1, draws=200)
        inside += int(found.low[0] <= forecast.units_of(told, 30, 34)[0] <= found.high[0])
    assert 0.71 <= inside / 120 <= 0.89


def test_the_test_says_who_was_closer():
    """Shrinking groups: the plain figure of the weeks before is too high every time."""
    told = world(60, leaving=0.08, heads=100_000)
    found = forecast.check(told, horizon=4, seed=1)
    assert found.origins == (44, 48, 52, 56)
    assert (found.closer, found.is_better) == (4, True)
    assert found.error < 0.05 < 0.2 < found.plain_error


def test_a_boom_is_missed_and_said():
    """Half a year of little, then ever more: rates of the half year lag behind."""
    told = world(60, heads=1000)
    told.units[:, 0, 0] = np.maximum(np.arange(60) - 30, 1) ** 2 * 10.0
    found = forecast.check(told, horizon=2, seed=1)
    assert not found.is_better


def test_a_group_that_nobody_was_seen_in_stays_as_it_is():
    told = world(40)
    told.sizes[40, 5] = 12
    _units, sizes = forecast.expect(told, origin=40, horizon=3)
    assert sizes[5] == 12


def test_weeks_needed_leave_room_for_a_test():
    needed = forecast.weeks_needed(4)
    assert forecast.check(world(needed), horizon=4, seed=1).origins != ()
