"""The newest events of a customer: what counts, as of when, and that nobody else's matter."""

import datetime as dt
from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from segmentation.features import sequences
from segmentation.features.context_data import ContextData
from segmentation.features.frames import events_frame
from segmentation.kinds import EventKind
from segmentation.ml.sequences import CHANNELS

AS_OF = dt.date(2024, 3, 1)
GAP, AGE, AMOUNT, RETURN = (CHANNELS.index(n) for n in ("log_gap", "log_age", "log_amount", "is_return"))


@pytest.fixture
def context(context_data):
    return context_data


@pytest.fixture
def context_data():
    return ContextData(as_of=AS_OF, time_zone="UTC")


def at(day, hour=12):
    return dt.datetime(2024, 1, 1, hour, tzinfo=dt.UTC) + dt.timedelta(days=day)


def event(customer, day, kind=EventKind.ORDER_PLACED, **values):
    row = {"customer_id": customer, "kind": int(kind), "occurred_at": at(day), "amount_minor": 1000}
    return row | {"order_hash": 0, "category_mask": 1, "quantity": 1} | values


def frame(rows):
    return events_frame(pl.DataFrame(rows))


def build(rows, context, *, ids=(1, 2), newest=4):
    return sequences.build(frame(rows), AS_OF, context, customers=pl.Series(ids), newest=newest)


ROWS = [
    *(event(1, day) for day in (0, 10, 30)),
    event(1, 40, EventKind.REFUNDED, amount_minor=-500),
    *(event(2, day, EventKind.VIEWED, amount_minor=0) for day in range(6)),
]


def test_events_come_oldest_first_with_gaps_ages_amounts_and_returns(context):
    found = build(ROWS, context)
    assert found.lengths.tolist() == [4, 4]
    assert found.kinds.tolist() == [[1, 1, 1, 4], [10] * 4]
    assert np.allclose(np.expm1(found.numeric[0, :, GAP]), [0, 10, 20, 10], atol=1e-4)
    assert np.allclose(np.expm1(found.numeric[0, :, AGE]), [59.5, 49.5, 29.5, 19.5], atol=1e-3)
    assert np.allclose(np.expm1(found.numeric[0, :, AMOUNT]), [10, 10, 10, 5], atol=1e-4)
    assert found.numeric[0, :, RETURN].tolist() == [0, 0, 0, 1]


def test_only_the_newest_are_kept_and_their_first_gap_is_still_known(context):
    found = build(ROWS, context, newest=2)
    assert found.kinds.tolist() == [[1, 4], [10, 10]]
    assert np.allclose(np.expm1(found.numeric[0, :, GAP]), [20, 10], atol=1e-4)


def test_an_event_on_the_day_or_after_it_moves_nothing(context):
    before = build(ROWS, context)
    later = [event(1, 60, amount_minor=10**9), event(2, 75)]
    for one, other in zip(before.arrays, build([*ROWS, *later], context).arrays, strict=True):
        assert np.array_equal(one, other)


def test_numbers_of_a_later_day_may_not_serve(context):
    with pytest.raises(ValueError, match="may not serve"):
        build(ROWS, replace(context, as_of=AS_OF + dt.timedelta(days=1)))


def test_a_customer_alone_has_the_row_of_the_batch_in_any_order(context):
    rng = np.random.default_rng(3)
    kinds = (EventKind.ORDER_PLACED, EventKind.VIEWED, EventKind.REFUNDED, EventKind.REVIEWED)
    rows = [
        event(int(c), float(d), kinds[k], amount_minor=int(a))
        for c, d, k, a in zip(
            rng.integers(1, 40, 600),
            rng.uniform(0, 59, 600),
            rng.integers(0, 4, 600),
            rng.integers(1, 9999, 600),
            strict=True,
        )
    ]  # fmt: skip
    ids = rng.permutation(np.arange(1, 42))
    batch = build(rows, context, ids=ids, newest=8)
    for place, customer in enumerate(ids):
        alone = build(rows, context, ids=[customer], newest=8)
        for whole, one in zip(batch.arrays, alone.arrays, strict=True):
            assert np.array_equal(whole[place], one[0])
    assert batch.lengths[list(ids).index(41)] == 0


def test_a_cancelled_order_is_gone_and_a_changed_one_has_its_new_amount(context):
    rows = [
        event(1, 1, order_hash=7),
        event(1, 2, EventKind.ORDER_CANCELLED, order_hash=7, amount_minor=0),
        event(1, 3, order_hash=8),
        event(1, 4, EventKind.ORDER_CHANGED, order_hash=8, amount_minor=2500),
    ]
    found = build(rows, context, ids=[1])
    assert found.lengths.tolist() == [1]
    assert np.expm1(found.numeric[0, 0, AMOUNT]) == pytest.approx(25, abs=1e-4)


def test_days_are_those_of_the_shop(context):
    """23:30 in London on 29 February is the day before in UTC terms of Auckland's first of March."""
    away = replace(context, time_zone="Pacific/Auckland")
    assert away.zone == ZoneInfo("Pacific/Auckland")
    late = [event(1, 59, occurred_at=dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC))]
    assert build(late, context, ids=[1]).lengths.tolist() == [1]
    assert build(late, away, ids=[1]).lengths.tolist() == [0]


def test_shorter_sequences_are_the_end_of_longer_ones(context):
    long, short = build(ROWS, context, newest=6), build(ROWS, context, newest=3)
    for one, other in zip(long.newest(3).arrays, short.arrays, strict=True):
        assert np.array_equal(one, other)
    wide = short.newest(6)
    assert wide.kinds.shape == (2, 6)
    assert wide.lengths.tolist() == [3, 3]
