"""Each of the ten classes does what its name says, so that a classifier can find it from events."""

from __future__ import annotations

import polars as pl
import pytest

from segmentation.simulator.parameters import SHOPPER_TYPES


@pytest.fixture(scope="module")
def typed(world, orders):
    """Orders with the shopper type of their customer."""
    return orders.join(world.truth.select("customer_id", "shopper_type"), on="customer_id")


def compare(frame, shopper_type, value):
    """The mean of `value` for the type and for all others."""
    mine = pl.col("shopper_type") == shopper_type
    return frame.filter(mine).select(value).item(), frame.filter(~mine).select(value).item()


def test_there_are_ten_and_all_occur(world):
    assert len(SHOPPER_TYPES) == 10
    assert set(world.truth["shopper_type"]) == set(SHOPPER_TYPES)


def test_gift_shoppers_order_before_christmas(typed):
    mine, others = compare(typed, "gift_shopper", pl.col("occurred_at").dt.month().is_in([11, 12]).mean())
    assert mine > 1.8 * others


def test_weekend_shoppers_order_at_the_weekend(typed):
    mine, others = compare(typed, "weekend_shopper", (pl.col("occurred_at").dt.weekday() >= 6).mean())
    assert mine > 0.65
    assert others < 0.5


def test_bargain_hunters_buy_at_a_discount(typed):
    mine, others = compare(typed, "bargain_hunter", (pl.col("discount") > 0).mean())
    assert mine > 0.6
    assert others < 0.35


def test_bulk_buyers_spend_more_an_order(typed):
    mine, others = compare(typed, "bulk_buyer", pl.col("amount").mean())
    assert mine > 2.5 * others


def test_returners_send_back(world):
    lines = world.events.filter(pl.col("kind").is_in(["order_placed", "refunded"]))
    lines = lines.join(world.truth.select("customer_id", "shopper_type"), on="customer_id")
    rate = (pl.col("kind") == "refunded").sum() / (pl.col("kind") == "order_placed").sum()
    mine, others = compare(lines, "returner", rate)
    assert mine > 3 * others


def test_trend_seekers_buy_what_has_just_been_launched(world):
    bought = world.events.filter((pl.col("kind") == "order_placed") & pl.col("customer_id").is_not_null())
    first_sale = bought.group_by("product_id").agg(pl.col("occurred_at").min().alias("first"))
    start = bought["occurred_at"].min()
    late = first_sale.filter(pl.col("first") > start + pl.duration(days=60))
    assert late.height > 20
    typed = bought.join(world.truth.select("customer_id", "shopper_type"), on="customer_id")
    new = typed.join(late, on="product_id", how="left").with_columns(
        new=(pl.col("occurred_at") - pl.col("first") < pl.duration(days=75)).fill_null(False)
    )
    mine, others = compare(new, "trend_seeker", pl.col("new").mean())
    assert mine > 2.5 * others


def test_window_shoppers_look_and_seldom_buy(world):
    looks = world.events.filter(pl.col("kind") == "viewed").group_by("customer_id").len("views")
    frame = world.truth.join(looks, on="customer_id", how="left").fill_null(0)
    mine, others = compare(frame, "window_shopper", pl.col("views").sum() / pl.col("orders_in_window").sum())
    assert mine > 2.5 * others


def test_loyal_regulars_stay(world):
    at_risk = world.truth.filter("in_churn_population")
    mine, others = compare(at_risk, "loyal_regular", pl.col("churned_90d").mean())
    assert mine < others - 0.2


def test_lapsed_enthusiasts_buy_fast_and_stop(world):
    mine, others = compare(world.truth, "lapsed_enthusiast", pl.col("buying_rate").median())
    gone, others_gone = compare(world.truth, "lapsed_enthusiast", (~pl.col("alive_at_end")).mean())
    assert mine > 2 * others
    assert gone > others_gone + 0.15


def test_a_few_fraudsters_order_in_bursts_then_refund_and_slander(world, typed):
    assert 0.002 < world.truth["is_fraud"].mean() < 0.02
    value, usual = compare(typed, "fraud_suspect", pl.col("amount").mean())
    assert value > 2.5 * usual
    fraud = world.truth.filter(pl.col("is_fraud") & (pl.col("orders_in_window") > 0)).select("customer_id")
    theirs = world.events.join(fraud, on="customer_id")
    span = (
        theirs.filter(pl.col("kind") == "order_placed")
        .group_by("customer_id")
        .agg((pl.col("occurred_at").max() - pl.col("occurred_at").min()).dt.total_days().alias("days"))
    )
    kinds = dict(theirs["kind"].value_counts().iter_rows())
    assert span["days"].quantile(0.8) < 30
    assert kinds["refunded"] > 0.3 * kinds["order_placed"]
    assert theirs.filter(pl.col("kind") == "reviewed")["rating"].mean() < 2
    assert theirs.filter(pl.col("text").str.starts_with("Chargeback")).height > 0


def test_labels_are_known_for_about_three_in_five_and_then_true(world):
    both = world.customers.select("customer_id", label="shopper_type").join(
        world.truth.select("customer_id", "shopper_type"), on="customer_id"
    )
    labelled = both.drop_nulls("label")
    assert 0.55 < labelled.height / both.height < 0.65
    assert (labelled["label"] == labelled["shopper_type"]).all()
