"""The same customer, the same row to the last bit, whoever is computed beside them; the future changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from segmentation.features.compute import compute
from segmentation.features.days import midnight
from segmentation.features.fitting import fit
from segmentation.features.frames import customers_frame, events_frame
from segmentation.kinds import EventKind
from segmentation.ml.btyd import BGNBDParams
from tests.segmentation.features.build import AS_OF, CONTEXT, LONDON

START = datetime(2022, 1, 1, tzinfo=UTC)
CUT = midnight(AS_OF, LONDON)
SHOP = replace(
    CONTEXT,
    purchases=BGNBDParams(r=0.635, alpha=8.946, a=0.1746, b=2.737),
    season=tuple(0.5 + month / 12 for month in range(12)),
    season_known=True,
    recency_cuts=(10.0, 30.0, 80.0, 200.0),
    frequency_cuts=(1.0, 2.0, 3.0, 6.0),
    money_cuts=(33.3, 77.7, 150.0, 900.0),
)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "customer_id": st.integers(1, 9),
            "kind": st.sampled_from([1, 1, 1, *map(int, EventKind)]),
            "occurred_at": st.integers(0, 1000 * 24 * 3600).map(lambda s: START + timedelta(seconds=s)),
            "amount_minor": st.integers(-100, 10_000_000),
            "discount_minor": st.integers(0, 5_000),
            "quantity": st.integers(0, 50),
            "line_count": st.integers(0, 20),
            "category_mask": st.integers(0, 2**63 - 1),
            "rating": st.one_of(st.none(), st.sampled_from([1.0, 2.5, 3.7, 5.0])),
            "order_hash": st.integers(0, 4),
            "sentiment": st.one_of(st.none(), st.floats(-1, 1)),
            "topic": st.integers(0, 6),
            "repeats": st.integers(0, 3),
        }
    ),
    max_size=60,
)


def _features(events: pl.DataFrame, ids: list[int]) -> pl.DataFrame:
    return compute(events, AS_OF, SHOP, customers=customers_frame(ids))


def _bits(frame: pl.DataFrame) -> pl.DataFrame:
    """Floats as their bytes, so that equality is equality of every bit."""
    return frame.with_columns(pl.col(pl.Float64).reinterpret(signed=True))


@settings(max_examples=35, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS)
def test_batch_chunk_and_single_customer_agree_to_the_last_bit(rows):
    events = events_frame(rows)
    ids = list(range(1, 11))
    whole = _bits(_features(events, ids))
    chunks = pl.concat([_features(events, ids[:4]), _features(events, ids[4:])])
    single = pl.concat([_features(events.filter(pl.col("customer_id") == key), [key]) for key in ids])
    assert_frame_equal(whole, _bits(chunks), check_exact=True)
    assert_frame_equal(whole, _bits(single), check_exact=True)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS)
def test_events_at_or_after_the_day_change_nothing(rows):
    events = events_frame(rows)
    past = events.filter(pl.col("occurred_at") < CUT)
    assert_frame_equal(_features(events, [1, 2, 3]), _features(past, [1, 2, 3]), check_exact=True)


def test_many_heavy_buyers_agree_with_each_of_them_alone():
    rows = [
        {
            "customer_id": key,
            "kind": 1,
            "occurred_at": CUT - timedelta(days=1 + (key * 37 + n * 11) % 700),
            "amount_minor": 100 + n,
        }
        for key in range(1, 100)
        for n in range(key % 40 + 1)
    ]
    events, ids = events_frame(rows).sort("customer_id", "occurred_at"), list(range(1, 100))
    alone = [_features(events.filter(pl.col("customer_id") == key), [key]) for key in ids]
    assert_frame_equal(_bits(_features(events, ids)), _bits(pl.concat(alone)), check_exact=True)


def test_rows_come_in_the_order_of_the_customers():
    events = events_frame(
        [{"customer_id": 2, "kind": 1, "occurred_at": CUT - timedelta(days=3), "amount_minor": 5}]
    )
    found = _features(events, [3, 2, 1])
    assert found["customer_id"].to_list() == [3, 2, 1]
    assert found["orders_lifetime"].to_list() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("column", ["customer_id", "occurred_at"])
def test_events_that_are_not_sorted_are_refused(column):
    rows = [
        {"customer_id": key, "kind": 1, "occurred_at": CUT - timedelta(days=9 - key), "amount_minor": 5}
        for key in (1, 2)
    ]
    events = events_frame(rows)
    if column == "occurred_at":
        events = events.with_columns(customer_id=pl.lit(1, dtype=pl.Int64))
    with pytest.raises(ValueError, match="sorted"):
        _features(events.reverse(), [1, 2])


def test_an_event_one_microsecond_before_midnight_counts_and_one_at_midnight_does_not():
    def orders(moment: datetime) -> float:
        row = {"customer_id": 1, "kind": 1, "occurred_at": moment, "amount_minor": 5}
        return _features(events_frame([row]), [1])["orders_7d"][0]

    assert orders(CUT - timedelta(microseconds=1)) == 1
    assert orders(CUT) == 0


def test_shop_numbers_are_fitted_on_events_before_the_day_alone():
    rows = [
        {
            "customer_id": key,
            "kind": 1,
            "occurred_at": CUT - timedelta(days=day),
            "amount_minor": 1000 + 10 * key,
        }
        for key in range(1, 60)
        for day in range(1 + key, 500, 20 + 3 * key)
    ]
    later = [
        {"customer_id": key, "kind": 1, "occurred_at": CUT + timedelta(days=key), "amount_minor": 10**9}
        for key in range(1, 90)
    ]
    options = {"as_of": AS_OF, "zone": LONDON, "minor_per_major": 100}
    before = fit(events_frame(rows), **options)
    assert before.purchases_fitted
    assert before.spend_fitted
    assert fit(events_frame(rows + later), **options) == before
