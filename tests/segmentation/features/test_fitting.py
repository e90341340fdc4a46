"""Shop-wide numbers: purchase models, seasons, borders; and what a shop gets that is too young for its own."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from segmentation.features.context_data import PRIOR_PURCHASES, ContextData
from segmentation.features.days import day_number
from segmentation.features.fitting import OrderSums, fit, fit_sums, season_levels, summarise
from segmentation.features.frames import events_frame
from tests.segmentation.features.build import AS_OF, LONDON, order

OPTIONS = {"as_of": AS_OF, "zone": LONDON, "minor_per_major": 100}


def _shop(customers: int = 60) -> list[dict]:
    return [
        order(day, 10 + key, customer=key)
        for key in range(1, customers + 1)
        for day in range(1 + key, 600, 15 + 4 * key)
    ]


def test_numbers_survive_json():
    fitted = fit(events_frame(_shop()), **OPTIONS)
    assert ContextData.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted
    young = ContextData(as_of=AS_OF, attributes=(("plan", "choice"),))
    assert ContextData.from_json(json.loads(json.dumps(young.to_json()))) == young


def test_a_shop_of_nineteen_customers_gets_the_published_parameters_and_says_so():
    fitted = fit(events_frame([order(30, 50, customer=key) for key in range(1, 20)]), **OPTIONS)
    assert (fitted.purchases, fitted.purchases_fitted, fitted.spend_fitted) == (PRIOR_PURCHASES, False, False)
    # The stand-in for spend has the shop's own mean order.
    assert fitted.spend.mean_spend == pytest.approx(50)


def test_an_empty_shop_has_neutral_numbers():
    fitted = fit(events_frame([]), **OPTIONS)
    assert (fitted.customers, fitted.orders, fitted.first_day, fitted.tier_cuts) == (0, 0, None, ())
    assert not fitted.season_known
    assert fitted.season_level(AS_OF, 90) == 1


def test_sums_of_chunks_fit_like_the_whole_shop():
    events = events_frame(_shop())
    parts = [events.filter(customer_id=key) for key in range(1, 61)]
    sums = OrderSums.concat(summarise(part, as_of=AS_OF, zone=LONDON) for part in parts)
    assert fit_sums(sums, **OPTIONS) == fit(events, **OPTIONS)


def test_borders_split_recent_buyers_into_fifths_and_spend_into_thirds():
    rows = [order(key, key, customer=key) for key in range(1, 101)] + [order(400, 9, customer=101)]
    fitted = fit(events_frame(rows), **OPTIONS)
    assert fitted.recency_cuts == pytest.approx((20.8, 40.6, 60.4, 80.2))
    assert fitted.money_cuts == pytest.approx((20.8, 40.6, 60.4, 80.2))
    # Within 90 days: spends of 1 to 90.
    assert fitted.tier_cuts == pytest.approx((1 + 89 / 3, 1 + 89 * 2 / 3))
    assert (fitted.customers, fitted.orders) == (101, 101)


def _daily(first: date, last: date, rate) -> np.ndarray:
    daily = np.zeros(day_number(last) + 1, dtype=np.int64)
    day = first
    while day <= last:
        daily[day_number(day)] = rate(day)
        day += timedelta(days=1)
    return daily


def test_a_year_of_whole_months_gives_a_season():
    daily = _daily(date(2023, 1, 1), date(2023, 12, 31), lambda day: 30 if day.month == 12 else 10)
    levels = season_levels(daily, date(2024, 1, 1))
    mean = (11 * 10 + 30) / 12
    assert levels == pytest.approx([10 / mean] * 11 + [30 / mean], abs=1e-6)


def test_eleven_whole_months_give_none():
    daily = _daily(date(2023, 1, 5), date(2023, 12, 31), lambda day: 10)
    assert season_levels(daily, date(2024, 1, 1)) is None


def test_growth_from_year_to_year_is_no_season():
    daily = _daily(date(2022, 1, 1), date(2023, 12, 31), lambda day: 10 if day.year == 2022 else 50)
    assert season_levels(daily, date(2024, 1, 1)) == pytest.approx([1.0] * 12)


def test_the_month_that_is_not_over_does_not_count():
    daily = _daily(date(2023, 1, 1), date(2024, 1, 10), lambda day: 900 if day.year == 2024 else 10)
    assert season_levels(daily, date(2024, 1, 11)) == pytest.approx([1.0] * 12)


def test_orders_are_summed_by_the_shops_days():
    # 23:30 UTC on 30 June is 1 July in London already.
    late = {
        "customer_id": 1,
        "kind": 1,
        "occurred_at": datetime(2024, 6, 30, 23, 30, tzinfo=UTC),
        "amount_minor": 5,
    }
    assert fit(events_frame([late]), **OPTIONS).orders == 0
    assert fit(events_frame([late]), **OPTIONS | {"as_of": date(2024, 7, 2)}).orders == 1
