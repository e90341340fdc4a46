"""A budget goes where it does most, and has a price at which everybody finds their own."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.ml import budget
from segmentation.ml.budget import NOBODY


def test_the_best_for_the_money_come_first_and_the_last_one_is_named():
    gain = np.array([[300.0], [900.0], [200.0], [800.0]])
    found = budget.allocate(gain, np.full((4, 1), 100.0), 300)
    assert found.option.tolist() == [0, 0, NOBODY, 0]
    assert (found.price, found.last, found.reached, found.wanted) == (3.0, 0, 3, 4)
    assert (found.spent, found.gain) == (300, 2000)


def test_a_dearer_option_is_taken_only_where_its_more_is_worth_it():
    gain = np.array([[400.0, 900.0], [500.0, 620.0]])
    cost = np.array([[100.0, 300.0]] * 2)
    assert budget.allocate(gain, cost, 200).option.tolist() == [0, 0]
    assert budget.allocate(gain, cost, 400).option.tolist() == [1, 0]
    # The second's step to the dear one costs 200 and brings 120: never.
    assert budget.allocate(gain, cost, 10_000).option.tolist() == [1, 0]


def test_nobody_gets_what_does_not_pay_and_without_money_nobody_gets_anything():
    gain = np.array([[90.0], [150.0]])
    found = budget.allocate(gain, np.full((2, 1), 100.0), 1000)
    assert (found.option.tolist(), found.price) == ([NOBODY, 0], None)
    poor = budget.allocate(gain, np.full((2, 1), 100.0), 50)
    assert (poor.option.tolist(), poor.price, poor.last) == ([NOBODY, NOBODY], 1.5, 1)
    empty = budget.allocate(np.zeros((0, 2)), np.zeros((0, 2)), 100)
    assert (empty.reached, empty.wanted, empty.price) == (0, 0, None)


def test_what_costs_nothing_and_brings_something_is_always_taken():
    found = budget.allocate(np.array([[5.0], [9.0]]), np.array([[0.0], [5.0]]), 0)
    assert found.option.tolist() == [0, NOBODY]
    # The price is that of what was too dear: an infinite one would make nothing of everything.
    assert (found.price, found.last) == (1.8, 1)


def test_options_that_cannot_be_had_are_not_taken():
    gain = np.array([[500.0, 400.0]])
    found = budget.allocate(gain, np.full((1, 2), 100.0), 100, open_=np.array([[False, True]]))
    assert found.option.tolist() == [1]


def test_rows_that_stand_for_many_count_so_often():
    gain = np.array([[300.0], [900.0], [200.0], [800.0]])
    found = budget.allocate(gain, np.full((4, 1), 100.0), 3000, weight=10)
    assert (found.reached, found.spent) == (3, 3000)


money = st.integers(0, 12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(money, money, st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=5),
    st.integers(0, 14),
)
def test_no_choice_brings_more_than_the_worth_of_one_step(people, purse):
    """Against every possible choice; and the price leads each customer to the same."""
    gain = np.array([[a, b] for a, b, _c, _d in people], dtype=float)
    cost = np.array([[c, d] for _a, _b, c, d in people], dtype=float)
    found = budget.allocate(gain, cost, purse)
    net = np.where(found.option >= 0, gain[np.arange(len(gain)), found.option], 0).sum()
    assert found.spent <= purse
    assert found.gain == net

    def worth(choice):
        picked = [(row, option) for row, option in enumerate(choice) if option >= 0]
        if sum(cost[one] for one in picked) > purse or any(gain[one] <= cost[one] for one in picked):
            return -1.0
        return sum(gain[one] - cost[one] for one in picked)

    best = max(worth(choice) for choice in itertools.product((-1, 0, 1), repeat=len(people)))
    mine = found.gain - found.spent
    assert mine <= best
    assert mine >= best - gain.max()
    value = budget.at_price(gain, cost, found.price)
    if found.price is None:
        assert mine == best
        assert ((value.max(axis=1) > 0) == (found.option >= 0)).all()
    else:
        taken = found.option >= 0
        assert (value.max(axis=1)[taken] >= -1e-9).all()
