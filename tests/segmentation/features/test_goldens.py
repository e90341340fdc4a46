"""Every family of features, worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from segmentation.features.context_data import ContextData
from segmentation.features.frames import customers_frame
from segmentation.kinds import EventKind as Kind
from segmentation.ml import btyd
from tests.segmentation.features.build import AS_OF, CONTEXT, at, event, features, order


def _is(found: dict, **wanted):
    for name, value in wanted.items():
        assert found[name] == (value if value is None else pytest.approx(value)), name


def test_frequency_and_money_count_whole_days_back_from_midnight():
    found = features(
        order(1, 1),
        order(7, 2),
        order(8, 4),
        order(30, 8),
        order(31, 16),
        order(90, 32),
        order(91, 64),
        order(365, 128),
        order(366, 256),
    )
    _is(found, orders_7d=2, orders_30d=4, orders_90d=6, orders_365d=8, orders_lifetime=9)
    _is(found, spend_7d=3, spend_30d=15, spend_90d=63, spend_365d=255, spend_lifetime=511)
    _is(found, orders_90d_before=1, spend_90d_before=64, spend_recent_share=63 / 255)


def test_recency_and_rhythm_are_between_days_with_an_order():
    found = features(order(100), order(100, hour=18), order(90), order(70), order(30))
    _is(
        found,
        recency_days=30,
        first_order_days=100,
        order_days_lifetime=4,
        order_days_365d=4,
        orders_lifetime=5,
    )
    # Gaps of 10, 20 and 40 days.
    _is(found, gap_mean_days=70 / 3, gap_std_days=15.275252, regularity=15.275252 / (70 / 3))
    _is(found, last_gap_ratio=40 / (70 / 3), overdue_ratio=30 / (70 / 3), months_active_365d=3)


def test_the_last_gap_stays_known_when_a_second_order_follows_the_same_day():
    _is(features(order(50), order(20), order(20, hour=15)), last_gap_ratio=1.0, gap_mean_days=30)


def test_rhythm_is_not_defined_before_there_is_one():
    one, two = features(order(5)), features(order(5), order(9))
    _is(one, gap_mean_days=None, gap_std_days=None, overdue_ratio=None, last_gap_ratio=None)
    _is(two, gap_mean_days=4, gap_std_days=None, regularity=None)


def test_the_same_window_a_year_ago_is_the_90_days_to_come():
    found = features(order(366, 1), order(365, 2), order(276, 4), order(275, 8), order(10, 14))
    _is(found, orders_year_ago_90d=2, spend_year_ago_90d=6, season_share=6 / 28)


def test_baskets_and_prices():
    found = features(
        order(400, 30, line_count=3, quantity=6),
        order(20, 10, line_count=1, quantity=2, discount_minor=1000),
    )
    _is(found, order_value_mean=20, order_value_mean_365d=10, order_value_largest=30, order_value_last=10)
    _is(
        found,
        last_order_ratio=0.5,
        lines_per_order=2,
        lines_last_order=1,
        units_per_order=4,
        price_per_unit=5,
    )
    _is(found, discount_share=10 / 50, discounted_orders_share=0.5)


def test_categories_and_their_adoption():
    found = features(
        order(400, category_mask=0b0011), order(100, category_mask=0b0100), order(5, category_mask=0b1101)
    )
    _is(found, categories_lifetime=4, categories_365d=3, categories_new_90d=1, categories_new_share_90d=1 / 3)
    _is(features(order(100, category_mask=1)), categories_new_90d=0, categories_new_share_90d=None)


def test_returns():
    found = features(
        order(200, 100),
        order(50, 100),
        event(Kind.REFUNDED, 180, amount_minor=3000),
        event(Kind.REFUNDED, 40, amount_minor=1000),
    )
    _is(found, returns_90d=1, returns_365d=2, returns_lifetime=2, returns_per_order=1, returned_share=0.2)
    _is(found, return_recency_days=40, spend_lifetime=200)


def test_browsing():
    found = features(
        event(Kind.VIEWED, 80, category_mask=1),
        event(Kind.VIEWED, 20, category_mask=2),
        event(Kind.VIEWED, 20, hour=13, category_mask=2),
        event(Kind.SEARCHED, 3),
        event(Kind.VIEWED, 3),
        event(Kind.FAVOURITED, 100),
        order(2),
    )
    _is(found, views_7d=1, views_30d=3, views_90d=4, visit_days_30d=2, visit_days_90d=3, searches_30d=1)
    _is(found, favourites_90d=0, favourites_365d=1, visit_recency_days=3, categories_viewed_90d=2)
    _is(found, orders_per_visit_90d=1 / 3)


def test_a_cart_is_abandoned_once_three_days_passed_without_an_order():
    found = features(
        event(Kind.CART_ADDED, 60),
        order(57),
        event(Kind.CART_ADDED, 50),
        order(46),
        event(Kind.CART_ADDED, 20),
        event(Kind.CART_ADDED, 20, hour=14),
        event(Kind.CART_ADDED, 3),
    )
    # 60: ordered on the third day. 50: a day too late. 20: one cart of two products. 3: still time.
    _is(found, abandoned_carts_90d=2, abandoned_carts_30d=1, cart_adds_30d=3, cart_adds_90d=5)
    _is(found, cart_waiting_days=3)


def test_an_order_ends_the_waiting_of_a_cart():
    _is(features(event(Kind.CART_ADDED, 5), order(4)), cart_waiting_days=None)


def test_reviews():
    found = features(
        event(Kind.REVIEWED, 500, rating=5.0),
        event(Kind.REVIEWED, 300, rating=2.0),
        event(Kind.REVIEWED, 100, rating=None),
    )
    _is(found, reviews_lifetime=3, reviews_365d=2, rating_mean=3.5, rating_last=2, low_ratings_365d=1)
    _is(features(order(1)), rating_mean=None, rating_last=None, reviews_lifetime=0)


def test_support():
    found = features(
        event(Kind.TICKET_OPENED, 200),
        event(Kind.TICKET_CLOSED, 199),
        event(Kind.TICKET_OPENED, 40),
        event(Kind.TICKET_OPENED, 10),
        event(Kind.COMPLAINED, 60),
    )
    _is(found, tickets_30d=1, tickets_90d=2, tickets_365d=3, tickets_open=2)
    _is(found, complaints_30d=0, complaints_90d=1, complaints_365d=1)


def test_offers():
    found = features(event(Kind.OFFER_SENT, 200), event(Kind.OFFER_SENT, 20), event(Kind.OFFER_REDEEMED, 19))
    _is(found, offers_sent_90d=1, offers_used_365d=1, offers_used_share_365d=0.5)


def test_tenure_is_from_whatever_came_first():
    people = customers_frame([1]).with_columns(
        signed_up_at=at(500), country=_text("GB"), channel=_text("web")
    )
    found = features(event(Kind.VIEWED, 30), customers=people)
    _is(found, tenure_days=500, signed_up_days=500)
    assert (found["country"], found["channel"]) == ("GB", "web")
    _is(features(event(Kind.VIEWED, 30)), tenure_days=30, signed_up_days=None)


def test_a_sign_up_on_or_after_the_day_is_not_known_yet():
    people = customers_frame([1]).with_columns(signed_up_at=at(-1))
    _is(features(event(Kind.VIEWED, 30), customers=people), tenure_days=30, signed_up_days=None)


def test_expected_orders_are_those_of_the_purchase_model_on_order_days():
    found = features(order(100, 30), order(100, 10, hour=15), order(30, 20))
    history = ([1.0], [10.0], [100 / 7])
    _is(found, btyd_alive=btyd.probability_alive(CONTEXT.purchases, *history)[0])
    expected = btyd.expected_orders(CONTEXT.purchases, *history, horizon=90 / 7)[0]
    spend = btyd.expected_spend(CONTEXT.spend, [2.0], [30.0])[0]
    _is(found, btyd_expected_orders_90d=expected, btyd_expected_spend=spend, btyd_value_90d=expected * spend)


def test_standing_beside_other_customers():
    cuts = replace(
        CONTEXT,
        recency_cuts=(5.0, 20.0, 60.0, 120.0),
        frequency_cuts=(1.0, 2.0, 3.0, 6.0),
        money_cuts=(1.0, 5.0, 9.0, 50.0),
    )
    found = features(order(20, 6), order(40, 6), context=cuts)
    _is(found, recency_score=4, frequency_score=2, money_score=4)
    _is(features(order(400), context=cuts), recency_score=None, money_score=None)
    _is(features(order(4)), recency_score=None)


def test_the_season_ahead_is_the_mean_level_of_its_days():
    levels = (1.0,) * 6 + (2.0, 1.0, 3.0) + (1.0,) * 3
    seasonal = replace(CONTEXT, season=levels, season_known=True)
    found = features(order(5), context=seasonal)
    # From 1 July: 31 days of July, 31 of August, 28 of September; behind: April to June.
    _is(found, season_next_90d=(31 * 2 + 31 * 1 + 28 * 3) / 90, season_last_90d=1)
    _is(features(order(5)), season_next_90d=1)


def test_nothing_known_gives_zeros_and_unknowns():
    found = features()
    _is(found, orders_lifetime=0, spend_lifetime=0, views_90d=0, categories_lifetime=0, tickets_open=0)
    _is(
        found,
        recency_days=None,
        order_value_mean=None,
        btyd_alive=None,
        btyd_value_90d=None,
        tenure_days=None,
    )


def test_money_is_in_major_units_of_the_currency():
    yen = ContextData(as_of=AS_OF, time_zone="Europe/London", minor_per_major=1)
    _is(features(order(3, 5), context=yen), spend_lifetime=500)


def test_attributes_are_features_where_the_context_says_so():
    people = customers_frame([1]).with_columns(
        _number(3.5).alias("attribute.score"),
        _bool(True).alias("attribute.vip"),
        _text("B").alias("attribute.plan"),
    )
    shop = replace(
        CONTEXT, attributes=(("gone", "choice"), ("plan", "choice"), ("score", "number"), ("vip", "boolean"))
    )
    found = features(customers=people, context=shop)
    assert (found["attribute.score"], found["attribute.vip"], found["attribute.plan"]) == (3.5, 1.0, "B")
    assert found["attribute.gone"] is None
    assert not any(name.startswith("attribute.") for name in features(customers=people))


def test_a_context_of_a_later_day_is_refused():
    with pytest.raises(ValueError, match="may not serve"):
        features(context=ContextData(as_of=date(2024, 7, 2)))


def _text(value):
    import polars as pl

    return pl.lit(value)


_number = _bool = _text
