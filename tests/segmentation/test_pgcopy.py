"""A frame that goes to the database as whole columns leaves the same rows as tuples do, value by value."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from django.db import DataError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation import bulk, pgcopy
from segmentation.models import CustomerFeatures, Event, PastMembership, ScoreHistory

pytestmark = pytest.mark.django_db
# PostgreSQL has no NUL in text, and UTF-8 no lone surrogates.
AT = datetime(2024, 1, 1, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
INT4, INT8 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda at: at.replace(tzinfo=UTC))
FLOATS = st.none() | st.floats(allow_nan=False)
UTC_TIME = pl.Datetime("us", "UTC")
EVENTS = {
    "customer_id": (pl.Int64, INT8),
    "kind": (pl.Int16, st.integers(0, 2**15 - 1)),
    "occurred_at": (UTC_TIME, TIMES),
    "superseded_at": (UTC_TIME, st.none() | TIMES),
    "source_id": (pl.Int64, st.just(1)),
    "source_version": (pl.Int64, INT8),
    "amount_minor": (pl.Int64, INT8),
    "discount_minor": (pl.Int64, INT8),
    "line_count": (pl.Int32, st.integers(0, 2**31 - 1)),
    "category_mask": (pl.Int64, INT8),
    "original_amount_minor": (pl.Int64, st.none() | INT8),
    "currency": (pl.String, st.sampled_from(["", "GBP"])),
    "quantity": (pl.Int32, INT4),
    "rating": (pl.Float64, FLOATS),
    "order_key": (pl.String, TEXT),
}
VECTORS = {
    "as_of": (pl.Date, st.dates(date(1, 1, 2), date(9999, 12, 30))),
    "input_version": (pl.Int64, INT8),
    "catalogue_version": (pl.String, TEXT.map(lambda text: text[:32])),
    "context_id": (pl.Int64, st.just(1)),
    "vector": (pl.Binary, st.binary(max_size=700)),
}


def rows_of(kinds, unique):
    """Between one and thirty rows of these columns, and a column that keeps them apart."""
    row = st.fixed_dictionaries({name: values for name, (_dtype, values) in kinds.items()})
    return st.lists(row, min_size=1, max_size=30).map(
        lambda rows: [{**row, unique[0]: unique[1](number)} for number, row in enumerate(rows)]
    )


def written(model, rows, schema, names, *, as_frame):
    """What the table holds after writing nothing but these rows, in their order."""
    model.objects.all().delete()
    columns = list(schema)
    frame = pl.DataFrame(rows, schema=schema)
    bulk.insert(model, columns, frame if as_frame else [tuple(row[name] for name in columns) for row in rows])
    found = model.objects.order_by(names[0]).values_list(*names)
    return [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in found]


@pytest.mark.parametrize("copy_from", [1, bulk.COPY_FROM])
@pytest.mark.parametrize(
    ("model", "kinds", "unique", "dtype"),
    [
        (Event, EVENTS, ("source_key", lambda number: f"k{number:02}"), pl.String),
        (CustomerFeatures, VECTORS, ("customer_id", lambda number: number), pl.Int64),
    ],
)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_columns_and_rows_store_the_same(model, kinds, unique, dtype, copy_from, data):
    bulk_copy_from, bulk.COPY_FROM = bulk.COPY_FROM, copy_from
    try:
        rows = data.draw(rows_of(kinds, unique))
        schema = {name: kind for name, (kind, _values) in kinds.items()} | {unique[0]: dtype}
        names = [unique[0], *(name for name in schema if name != unique[0])]
        by_rows = written(model, rows, schema, names, as_frame=False)
        assert written(model, rows, schema, names, as_frame=True) == by_rows
        assert by_rows == [tuple(row[name] for name in names) for row in rows]
    finally:
        bulk.COPY_FROM = bulk_copy_from


def history(count, **given):
    columns = {
        "customer_id": range(count), "target_id": 1, "version_id": 1, "as_of": date(2024, 1, 1), "value": 0.5,
        "label": "é" * 64,
    }  # fmt: skip
    return pl.DataFrame({**columns, **given})


def test_a_frame_longer_than_a_block_arrives_whole(monkeypatch):
    monkeypatch.setattr(pgcopy, "BLOCK_ROWS", 700)
    count = bulk.COPY_FROM * 2 + 1
    frame = history(count, label=["x" * (number % 65) for number in range(count)])
    assert bulk.insert(ScoreHistory, frame.columns, frame) == count
    stored = ScoreHistory.objects.order_by("customer_id").values_list("customer_id", "label")
    assert list(stored) == list(frame.select("customer_id", "label").iter_rows())


def test_one_very_long_value_does_not_pad_thousands_of_rows_to_its_length():
    count = bulk.COPY_FROM + 1
    frame = pl.DataFrame({"id": range(count), "text": ["x" * 3_000_000, *["y"] * (count - 1)]})
    parts = list(pgcopy.blocks(frame, {"id": "bigint", "text": "text"}))
    assert max(map(len, parts)) < 2 * pgcopy.BLOCK_BYTES
    assert sum(map(len, parts)) < 3_000_000 + count * 40


def test_nan_stays_a_number_that_is_none():
    frame = history(bulk.COPY_FROM, value=float("nan"))
    bulk.insert(ScoreHistory, frame.columns, frame)
    values = set(map(str, ScoreHistory.objects.values_list("value", flat=True)))
    assert values == {"nan" if connection.vendor == "postgresql" else "None"}


def test_a_number_that_does_not_fit_is_refused_not_wrapped():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite's integers have one size")
    for count in (1, bulk.COPY_FROM):
        frame = history(count).with_columns(pl.lit(2**40).alias("kind"), pl.lit("k").alias("source_key"))
        with pytest.raises((DataError, pl.exceptions.InvalidOperationError)), transaction.atomic():
            bulk.insert(Event, ["customer_id", "kind"], frame)


def test_a_time_without_a_zone_goes_through_the_field_instead():
    types = {"at": "timestamp with time zone"}
    naive = pl.DataFrame({"at": [datetime(2024, 1, 1)]})
    assert not pgcopy.can_write(naive, types)
    assert pgcopy.can_write(naive.with_columns(pl.col("at").dt.replace_time_zone("UTC")), types)
    assert not pgcopy.can_write(pl.DataFrame({"at": ["2024-01-01"]}), types)
    assert not pgcopy.can_write(pl.DataFrame({"at": [timedelta(1)]}), types)


def test_ids_taken_beforehand_are_new_and_belong_to_the_taker():
    first = bulk.new_ids(PastMembership, 3)
    assert len(set(first)) == 3
    assert bulk.new_ids(PastMembership, 0) == []
    known = {"segment_id": 1, "entered_at": AT, "entered_by": 1, "left_by": 1}
    frame = pl.DataFrame({"id": first, "customer_id": range(3), **known})
    bulk.insert(PastMembership, frame.columns, frame)
    assert list(PastMembership.objects.order_by("customer_id").values_list("pk", flat=True)) == first
    later = PastMembership.objects.create(customer_id=9, **known)
    assert later.pk not in first
    assert not set(bulk.new_ids(PastMembership, 2)) & {*first, later.pk}


@pytest.mark.parametrize("count", [2, bulk.COPY_FROM])
def test_rows_of_locked_customers_are_copied_where_nothing_is_stored_and_compared_where_something_is(count):
    same_day = bulk.Update(
        keys=("customer_id", "target_id", "as_of"), columns=("value", "label"), changed=True, locked=True
    )
    write = lambda frame: bulk.insert(ScoreHistory, frame.columns, frame, on_conflict=same_day)  # noqa: E731
    assert write(history(count)) == count
    assert write(history(count)) == 0
    assert write(history(count + 1, value=[0.5] * count + [0.7])) == 1
    assert ScoreHistory.objects.count() == count + 1


def test_neighbours_and_far_apart_ids_are_found_alike():
    ids = [1, 2, 5, 7, 1000, 10**12]
    rows = [(key, 1, 1, date(2024, 1, 1), None, "") for key in (*ids, 3, 999)]
    bulk.insert(ScoreHistory, ("customer_id", "target_id", "version_id", "as_of", "value", "label"), rows)
    found = bulk.values_in(ScoreHistory.objects.all(), ids, "customer_id")
    assert sorted(key for (key,) in found) == ids
    near = bulk.values_in(ScoreHistory.objects.all(), ids[:4], "customer_id")
    assert sorted(key for (key,) in near) == ids[:4]
