"""What became of customers after a cutoff."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import pytest

from segmentation import labels
from segmentation.features.frames import events_frame
from segmentation.kinds import EventKind as Kind
from tests.segmentation.features.build import AS_OF, LONDON, event, order


def _label(*rows: dict) -> dict[int, dict]:
    found = labels.label(
        events_frame(list(rows)), cutoff=AS_OF, zone=LONDON, horizon_days=90, minor_per_major=100
    )
    return {row["customer_id"]: row for row in found.iter_rows(named=True)}


def test_the_population_ordered_in_the_year_before():
    rows = [order(365, customer=1), order(366, customer=2), order(0, customer=3), order(1, 0, customer=4)]
    assert set(_label(*rows, event(Kind.VIEWED, 5, customer=5))) == {1}


def test_the_horizon_starts_at_the_cutoff_and_ends_after_its_last_day():
    rows = [order(10, 1), order(1, 2), order(0, 4, hour=0), order(-89, 8, hour=23), order(-90, 16, hour=0)]
    assert _label(*rows)[1] == {
        "customer_id": 1,
        "orders_ahead": 2,
        "spend_ahead": 12.0,
        "churn": 0.0,
        "next_order_days": 0.0,
    }


def test_no_order_ahead_is_churn_and_no_spend():
    assert _label(order(10), order(-95))[1] == {
        "customer_id": 1,
        "orders_ahead": 0,
        "spend_ahead": 0.0,
        "churn": 1.0,
        "next_order_days": math.inf,
    }


def test_returns_are_not_deducted_and_views_are_no_orders():
    found = _label(
        order(10), order(-5, 30), event(Kind.REFUNDED, -6, amount_minor=3000), event(Kind.VIEWED, -7)
    )
    assert found[1]["spend_ahead"] == 30


def test_an_order_cancelled_within_the_horizon_did_not_happen():
    found = _label(order(10), order(-5, 30, order_hash=3), event(Kind.ORDER_CANCELLED, -6, order_hash=3))
    assert found[1]["churn"] == 1


def test_a_cancellation_after_the_cutoff_does_not_undo_membership():
    found = _label(order(10, order_hash=3), event(Kind.ORDER_CANCELLED, -6, order_hash=3))
    assert found[1]["churn"] == 1


def test_tiers_are_thirds_of_the_positive_spends():
    cuts = labels.tier_cuts(np.array([0, 0, 10, 20, 30, 40, np.nan]))
    assert cuts == (20, 30)
    assert labels.tiers(np.array([0, 5, 20, 21, 30, 31, np.nan]), cuts).tolist() == [0, 1, 1, 2, 2, 3, -1]
    assert labels.tier_cuts(np.zeros(3)) == ()


@pytest.mark.parametrize(
    ("cuts", "fit"), [((20.0, 40.0), True), ((24.0, 45.0), True), ((9.0, 40.0), False), ((), False)]
)
def test_borders_in_use_fit_while_each_tier_has_a_quarter_of_the_buyers(cuts, fit):
    spend = np.array([0.0, *range(1, 61), np.nan])
    assert labels.still_fit(cuts, spend) is fit


def test_cutoffs_fill_the_history_from_its_end():
    chosen = labels.choose_cutoffs(first_day=date(2023, 1, 1), end=date(2024, 1, 1), horizon_days=90)
    assert chosen == (date(2023, 4, 6), date(2023, 7, 5), date(2023, 10, 3))
    assert chosen[-1] + timedelta(days=90) == date(2024, 1, 1)
    assert chosen[0] >= date(2023, 1, 1) + timedelta(days=90)


@pytest.mark.parametrize(
    ("days", "count"), [(179, 0), (180, 1), (269, 1), (270, 2), (5000, labels.MAX_CUTOFFS)]
)
def test_there_are_as_many_cutoffs_as_fit(days, count):
    end = date(2024, 1, 1)
    chosen = labels.choose_cutoffs(first_day=end - timedelta(days=days), end=end, horizon_days=90)
    assert len(chosen) == count
