"""The order of browsing steps: it tells of what comes next, or of nothing when switched off."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from segmentation.simulator import browsing

RECENT_DAYS = 40  # about as long as an intent lasts


def churn_by_order_of_steps(world):
    """(churn after carting first, churn after favouring first), by each customer's latest visit with both.

    The two kinds of visit hold the same events, so a count of events cannot tell them apart.
    """
    steps = world.events.filter(
        pl.col("kind").is_in(["favourited", "cart_added"])
        & (pl.col("occurred_at") > world.config.end_at - pl.duration(days=RECENT_DAYS))
    ).select("customer_id", "kind", "occurred_at", "product_id")
    favoured = steps.filter(pl.col("kind") == "favourited")
    carted = steps.filter(pl.col("kind") == "cart_added").select(
        "customer_id", "product_id", carted="occurred_at"
    )
    visits = favoured.join(carted, on=["customer_id", "product_id"]).filter(
        (pl.col("carted") - pl.col("occurred_at")).dt.total_seconds().abs() < 600
    )
    latest = visits.sort("occurred_at").group_by("customer_id").last()
    outcome = latest.join(world.truth.filter("in_churn_population"), on="customer_id")
    favoured_first = outcome["carted"] > outcome["occurred_at"]
    churned = outcome["churned_90d"]
    assert min(favoured_first.sum(), (~favoured_first).sum()) > 60
    return churned.filter(~favoured_first).mean(), churned.filter(favoured_first).mean()


def test_the_order_of_steps_tells_who_will_buy(world):
    carted_first, favoured_first = churn_by_order_of_steps(world)
    assert carted_first - favoured_first > 0.2


def test_without_the_signal_the_order_of_steps_tells_nothing(silent_world):
    carted_first, favoured_first = churn_by_order_of_steps(silent_world)
    assert abs(carted_first - favoured_first) < 0.13


@pytest.mark.parametrize("form", range(3))
def test_both_forms_of_a_visit_hold_the_same_events(form):
    cool, warm = browsing.STEP_KINDS[form]
    assert sorted(cool) == sorted(warm)
    if form:
        assert list(cool) != list(warm)


def test_taking_out_and_looking_only_are_commoner_without_intent():
    looking, aside, out = browsing.SHARES_WITHOUT_INTENT / browsing.SHARES_WITH_INTENT
    assert looking > 1 > aside
    assert out > 1
    for shares in (browsing.SHARES_WITHOUT_INTENT, browsing.SHARES_WITH_INTENT, browsing.SHARES_NO_SIGNAL):
        assert shares.sum() == pytest.approx(1)


def test_the_switch_leaves_orders_customers_and_truth_alone(world, silent_world):
    assert world.truth.equals(silent_world.truth)
    assert world.future.equals(silent_world.future)
    assert world.customers.equals(silent_world.customers)
    columns = ["order_id", "occurred_at", "product_id", "quantity", "unit_price", "discount"]
    placed = pl.col("kind") == "order_placed"
    assert (
        world.events.filter(placed).select(columns).equals(silent_world.events.filter(placed).select(columns))
    )


def test_visits_rise_before_an_order_and_fade_after_the_last(world):
    looks = world.events.filter(pl.col("kind") == "viewed").select("customer_id", "occurred_at")
    stopped = world.truth.select("customer_id", "stopped_at").drop_nulls()
    gap = (
        looks.join(stopped, on="customer_id")
        .select(days=(pl.col("occurred_at") - pl.col("stopped_at")).dt.total_seconds() / 86_400)["days"]
        .to_numpy()
    )
    before, soon, later = (
        np.sum((gap > low) & (gap < high)) for low, high in ((-14, 0), (0, 14), (100, 114))
    )
    assert before > 1.5 * soon
    assert soon > 3 * later
