"""The event file: its columns, its keys, and events that follow from each other."""

from __future__ import annotations

import polars as pl
import pytest

from segmentation.kinds import EventKind
from segmentation.simulator.lines import EVENT_COLUMNS

from .conftest import simulated


def of_kind(world, kind):
    return world.events.filter(pl.col("kind") == kind)


def test_the_columns_are_those_of_the_native_import_format(world):
    assert world.events.schema == pl.Schema(EVENT_COLUMNS)


def test_every_kind_is_one_the_shop_knows(world):
    assert {EventKind.from_slug(kind) for kind in world.events["kind"].unique()} >= {
        EventKind.ORDER_PLACED,
        EventKind.REFUNDED,
        EventKind.VIEWED,
        EventKind.CART_ADDED,
        EventKind.CART_REMOVED,
        EventKind.FAVOURITED,
        EventKind.REVIEWED,
        EventKind.TICKET_OPENED,
        EventKind.TICKET_CLOSED,
        EventKind.COMPLAINED,
        EventKind.SIGNED_UP,
    }


def test_all_events_lie_in_the_window(world):
    assert world.events["occurred_at"].min().date() >= world.config.start
    assert world.events["occurred_at"].max() < world.config.end_at


def test_lines_of_an_event_share_its_facts_and_events_share_no_id(world):
    facts = ["event_id", "kind", "occurred_at", "customer_id", "order_id"]
    events = world.events.select(facts).unique()
    assert events.height == events["event_id"].n_unique()
    several = (
        world.events.group_by("event_id").agg(pl.len(), pl.col("kind").first()).filter(pl.col("len") > 1)
    )
    assert set(several["kind"]) == {"order_placed", "refunded"}


def test_an_order_is_one_event(world):
    placed = of_kind(world, "order_placed")
    assert placed["order_id"].null_count() == 0
    assert placed["order_id"].n_unique() == placed["event_id"].n_unique()


def test_events_are_sorted_by_customer_and_time(world):
    known = world.events.drop_nulls("customer_id").select("customer_id", "occurred_at")
    assert known.equals(known.sort("customer_id", "occurred_at", maintain_order=True))


def test_money_is_positive_and_in_whole_pence(world):
    placed = of_kind(world, "order_placed")
    assert placed.select(pl.col("quantity", "unit_price").min()).row(0) > (0, 0)
    assert (placed["discount"] < placed["quantity"] * placed["unit_price"]).all()
    assert ((placed["unit_price"] * 100).round() - placed["unit_price"] * 100).abs().max() < 1e-6
    assert set(placed["currency"]) == {"GBP"}


def test_guests_order_without_a_customer_id(world):
    guests = world.events.filter(pl.col("customer_id").is_null())
    assert set(guests["kind"]) == {"order_placed"}
    assert guests["order_id"].n_unique() == world.report.guest_orders == 180


def test_a_refund_returns_lines_of_an_earlier_order_at_no_more_than_was_paid(world):
    line = ["order_id", "product_id"]
    worth = (pl.col("quantity") * pl.col("unit_price") - pl.col("discount")).sum().round(2)
    ordered = (
        of_kind(world, "order_placed").group_by(line).agg(worth.alias("paid"), pl.col("occurred_at").first())
    )
    refunds = (
        of_kind(world, "refunded")
        .group_by(line)
        .agg(worth.alias("back"), later=pl.col("occurred_at").first())
    )
    both = refunds.join(ordered, on=line, how="left")
    # Orders from before the window are not in the file, their refunds may be.
    missing = both["paid"].null_count()
    both = both.drop_nulls("paid")
    assert missing < 0.03 * refunds.height
    assert (both["later"] > both["occurred_at"]).all()
    assert (both["back"] <= both["paid"] + 0.011).all()
    assert (both["back"] > 0).all()


def test_returns_rise_with_dissatisfaction(world):
    refunded = (
        of_kind(world, "refunded").group_by("customer_id").agg(pl.col("order_id").n_unique().alias("n"))
    )
    frame = world.truth.filter((pl.col("orders_in_window") > 0) & (pl.col("shopper_type") != "returner"))
    frame = frame.join(refunded, on="customer_id", how="left").with_columns(pl.col("n").fill_null(0))
    middle = frame["satisfaction"].median()
    share = pl.col("n").sum() / pl.col("orders_in_window").sum()
    unhappy = frame.filter(pl.col("satisfaction") < middle).select(share).item()
    happy = frame.filter(pl.col("satisfaction") >= middle).select(share).item()
    assert unhappy > 1.5 * happy


def test_a_ticket_closes_after_it_opened_and_most_do(world):
    key = ["customer_id", "order_id"]
    opened = of_kind(world, "ticket_opened").select(*key, "occurred_at", "text")
    closed = of_kind(world, "ticket_closed").select(*key, closed_at="occurred_at")
    both = opened.join(closed, on=key, how="left")
    assert opened["text"].null_count() == 0
    assert (both.drop_nulls()["closed_at"] > both.drop_nulls()["occurred_at"]).all()
    assert both["closed_at"].null_count() < 0.05 * both.height


def test_products_belong_to_one_category_and_some_are_launched_late(world):
    goods = (
        world.events.drop_nulls("product_id")
        .group_by("product_id")
        .agg(
            pl.col("category").n_unique(),
            pl.col("product_name").n_unique(),
            pl.col("occurred_at").min().alias("first"),
        )
    )
    assert goods.select(pl.col("category", "product_name").max()).row(0) == (1, 1)
    assert 200 <= goods.height <= 400
    assert 10 <= world.events["category"].drop_nulls().n_unique() <= 12
    # A product first seen half a year in was launched late: the others sell every week.
    assert goods.filter(pl.col("first") > pl.datetime(2024, 1, 1, time_zone="UTC")).height > 20


def test_a_currency_without_minor_units_has_whole_prices(tmp_path):
    world = simulated(tmp_path, customers=50, currency="JPY")
    placed = of_kind(world, "order_placed")
    assert (placed["unit_price"] % 1 == 0).all()
    assert (placed["discount"] % 1 == 0).all()
    assert placed["unit_price"].median() > 100


@pytest.mark.parametrize("months", [3, 48])
def test_short_and_long_windows_work(tmp_path, months):
    world = simulated(tmp_path, customers=60, months=months)
    assert world.customers.height == world.truth.height == 60
    assert world.events.height > 100
