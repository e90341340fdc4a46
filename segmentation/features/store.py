"""Events, customers and stored features in and out of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import numpy as np
import polars as pl
from django.db import connection

from segmentation import bulk
from segmentation.features import customer_rows, event_rows, vectors
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.features.days import midnight
from segmentation.features.frames import EVENTS
from segmentation.features.orders import CANCELLED, CHANGED, ORDER_KINDS
from segmentation.features.selection import Customers, IdRange, customer_chunks, select, within
from segmentation.models import Customer, CustomerFeatures, Event, EventSource, Shop, ShopContext

__all__ = [
    "Customers",
    "IdRange",
    "customer_chunks",
    "input_versions",
    "read_customers",
    "read_events",
    "read_features",
    "write_features",
]


def read_events(
    customers: Customers,
    *,
    as_of: date,
    shop: Shop,
    known_only: bool = True,
    kinds: Sequence[int] | None = None,
) -> pl.DataFrame:
    """The events frame of these survivors from before `as_of`, of all kinds or the given ones.

    known_only: of live sources only what had been received by then, in the version known then. Without it the
    history as it is known now, which is what a backtest over events loaded later has to use.
    """
    selection = select(customers)
    instant = midnight(as_of, shop.zone)
    where, values = selection.where("customer_id")
    # A shop whose day is set back receives everything "later" than that day.
    visible, more = _visible(instant, known_only=known_only and shop.frozen_on is None)
    if kinds is not None:
        where, values = _of_kinds(where, values, kinds)
    end = connection.ops.adapt_datetimefield_value(instant)
    table = connection.ops.quote_name(Event._meta.db_table)
    frame = event_rows.fetch(table, f"{where} AND occurred_at < %s AND {visible}", [*values, end, *more])
    if selection.hidden:
        frame = frame.filter(~pl.col("customer_id").is_in(list(selection.hidden)))
    if selection.absorbed:
        frame = frame.with_columns(pl.col("customer_id").replace(selection.absorbed))
        frame = frame.sort("customer_id", "occurred_at", "id")
    frame = _with_order_hash(table, frame)
    nothing = pl.lit(None, dtype=EVENTS["sentiment"]).alias("sentiment")
    return frame.with_columns(nothing).select(list(EVENTS))


def read_customers(customers: Customers, *, as_of: date, shop: Shop) -> pl.DataFrame:
    """The customers frame of the survivors among these, by id, with attributes as they held before `as_of`."""
    selection = select(customers)
    frame = customer_rows.profiles(selection)
    for column in customer_rows.attributes(selection, before=midnight(as_of, shop.zone)):
        frame = frame.join(column, on="customer_id", how="left", maintain_order="left")
    return frame


def input_versions(customers: Customers) -> dict[int, int]:
    """Survivor → input_version now."""
    survivors = Customer.objects.filter(merged_into__isnull=True)
    if isinstance(customers, IdRange):
        rows = survivors.filter(pk__range=(customers.first, customers.last))
        return dict(rows.values_list("pk", "input_version"))
    return dict(bulk.values_in(survivors, list(customers), "pk", "input_version", by="pk"))


def write_features(
    frame: pl.DataFrame, *, as_of: date, context: ShopContext, input_versions: Mapping[int, int]
) -> int:
    """Store a features frame; a row lands unless something newer is stored. Returns how many landed."""
    ids = frame["customer_id"].to_list()
    packed = vectors.pack(frame)
    rows = [
        (key, as_of, input_versions[key], CATALOGUE_VERSION, context.pk, vector)
        for key, vector in zip(ids, packed, strict=True)
    ]
    stamped = ("as_of", "input_version", "catalogue_version", "context", "vector")
    newer = bulk.Update(keys=("customer",), columns=stamped, newer=("as_of", "input_version"), or_equal=True)
    return bulk.insert(CustomerFeatures, ("customer", *stamped), rows, on_conflict=newer)


def read_features(customers: Customers) -> pl.DataFrame:
    """Stored features: customer_id, as_of, input_version, numeric features, country and channel, by id.

    Rows of another catalogue version are left out: their numbers have other names.
    """
    stored = CustomerFeatures.objects.filter(catalogue_version=CATALOGUE_VERSION, customer__merged_into=None)
    columns = ("customer_id", "as_of", "input_version", "vector", "customer__country", "customer__channel")
    if isinstance(customers, IdRange):
        kept = stored.filter(customer__gte=customers.first, customer__lte=customers.last)
        rows = list(kept.values_list(*columns))
    else:
        rows = list(bulk.values_in(stored, list(customers), *columns))
    rows.sort()
    return vectors.unpack(rows)


def _visible(instant: datetime, *, known_only: bool) -> tuple[str, list[object]]:
    """Which versions count: the newest, or for live sources the one that was newest before the instant."""
    live = list(EventSource.objects.filter(is_live=True).values_list("pk", flat=True)) if known_only else []
    if not live:
        return "superseded_at IS NULL", []
    at = connection.ops.adapt_datetimefield_value(instant)
    is_live, values = within("source_id", live)
    then = f"({is_live} AND received_at < %s AND (superseded_at IS NULL OR superseded_at >= %s))"
    return f"((NOT {is_live} AND superseded_at IS NULL) OR {then})", [*values, *values, at, at]


def _of_kinds(where: str, values: list[object], kinds: Sequence[int]) -> tuple[str, list[object]]:
    condition, more = within("kind", list(kinds))
    return f"{where} AND {condition}", [*values, *more]


def _with_order_hash(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Tie versions of an order together, for the few customers who have a changed or cancelled one."""
    touched = frame.filter(pl.col("kind").is_in((int(CHANGED), int(CANCELLED))))
    if touched.is_empty():
        return frame.with_columns(pl.lit(0, dtype=pl.Int64).alias("order_hash"))
    events = frame.filter(
        pl.col("customer_id").is_in(touched["customer_id"].unique().implode()),
        pl.col("kind").is_in(ORDER_KINDS),
    )
    where, values = within("id", np.sort(events["id"].to_numpy()).tolist())
    keys = event_rows.order_keys(table, where, values)
    return frame.join(keys, on="id", how="left", maintain_order="left").with_columns(
        pl.col("order_hash").fill_null(0)
    )
