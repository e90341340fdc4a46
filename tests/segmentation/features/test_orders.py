"""Which orders count, and as what."""

from __future__ import annotations

import polars as pl

from segmentation.features.frames import events_frame
from segmentation.features.orders import counted_orders
from segmentation.kinds import EventKind as Kind
from tests.segmentation.features.build import AS_OF, event, features, order


def _orders(*rows: dict) -> list[tuple[int, int]]:
    found = counted_orders(events_frame(list(rows)))
    return [(row["customer_id"], row["amount_minor"]) for row in found.iter_rows(named=True)]


def test_a_changed_order_keeps_its_day_and_takes_the_new_amounts():
    found = features(
        order(40, 100, order_hash=7), event(Kind.ORDER_CHANGED, 10, amount_minor=6000, order_hash=7)
    )
    assert (found["orders_lifetime"], found["spend_lifetime"], found["recency_days"]) == (1, 60, 40)


def test_a_cancelled_order_does_not_count():
    found = features(
        order(40, 100, order_hash=7), order(50, 30), event(Kind.ORDER_CANCELLED, 39, order_hash=7)
    )
    assert (found["orders_lifetime"], found["spend_lifetime"], found["recency_days"]) == (1, 30, 50)


def test_a_cancellation_is_not_known_before_it_happens():
    found = features(order(40, 100, order_hash=7), event(Kind.ORDER_CANCELLED, -1, order_hash=7))
    assert found["orders_lifetime"] == 1


def test_an_order_that_became_free_does_not_count():
    assert _orders(order(5, 0), order(4, -3), order(3, 2, order_hash=1), _change(2, 0, order_hash=1)) == []


def test_a_change_that_names_no_order_adds_none():
    assert _orders(order(5, 3), _change(2, 9)) == [(1, 300)]


def test_orders_of_different_customers_are_not_tied_by_a_common_number():
    assert _orders(
        order(5, 3, order_hash=1), order(5, 4, customer=2, order_hash=1),
        event(Kind.ORDER_CANCELLED, 4, customer=2, order_hash=1),
    ) == [(1, 300)]  # fmt: skip


def test_orders_under_one_number_stay_apart_until_a_change_names_it():
    twice = (order(9, 3, order_hash=1), order(8, 4, order_hash=1))
    assert _orders(*twice) == [(1, 300), (1, 400)]
    assert _orders(*twice, _change(2, 9, customer=2, order_hash=1)) == [(1, 300), (1, 400), (2, 900)]
    assert _orders(*twice, _change(2, 9, order_hash=1)) == [(1, 900)]


def test_other_events_are_no_orders():
    assert counted_orders(events_frame([event(Kind.VIEWED, 3)])).is_empty()
    assert counted_orders(events_frame([])).columns == events_frame([]).columns


def test_orders_stay_sorted_when_versions_are_tied():
    found = counted_orders(
        events_frame(
            [order(50, order_hash=1), order(40), order(30, order_hash=2), _change(20, 3, order_hash=1)]
        )
    )
    assert found["occurred_at"].is_sorted()
    assert found.filter(pl.col("occurred_at").dt.date() < AS_OF).height == 3


def _change(days_ago: int, pounds: float, **columns) -> dict:
    return event(Kind.ORDER_CHANGED, days_ago, amount_minor=round(pounds * 100), **columns)
