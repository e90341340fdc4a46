"""Events, customers and stored features in and out of the database."""

# Names in these statements come from our own models; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import numpy as np
import polars as pl
from django.db import connection

from segmentation import bulk, columns, in_force
from segmentation.columns import Field
from segmentation.features import customer_rows, event_rows, vectors
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.features.days import midnight
from segmentation.features.frames import EVENTS
from segmentation.features.orders import CANCELLED, CHANGED, ORDER_KINDS
from segmentation.features.selection import (
    Customers,
    IdRange,
    Selection,
    customer_chunks,
    sampled_chunks,
    select,
    within,
)
from segmentation.models import Customer, CustomerFeatures, Event, EventSource, Shop, ShopContext
from segmentation.stages import stage

__all__ = [
    "Customers",
    "IdRange",
    "customer_chunks",
    "input_versions",
    "is_known_now",
    "read_customers",
    "read_events",
    "read_features",
    "read_people",
    "read_versions",
    "sampled_chunks",
    "write_features",
]

STORED = (
    Field("customer_id", "int8"),
    Field("as_of", "date"),
    Field("input_version", "int8"),
    Field("vector", "bytea"),
    Field("country", "text"),
    Field("channel", "text"),
)


@stage("read")
def read_events(
    customers: Customers | Selection,
    *,
    as_of: date,
    shop: Shop,
    known_only: bool = True,
    kinds: Sequence[int] | None = None,
) -> pl.DataFrame:
    """The events frame of these survivors from before `as_of`, of all kinds or the given ones.

    known_only: what scoring saw on that day: of what live sources told as it happened only what had been received
    by then, in the version known then. Without it the history as it is known now, which labels are read from.
    """
    selection = customers if isinstance(customers, Selection) else select(customers)
    instant = midnight(as_of, shop.zone)
    visible, more = _visible(instant, _live_before(instant, shop) if known_only else [])
    if kinds is not None:
        visible, more = _of_kinds(visible, more, kinds)
    end = connection.ops.adapt_datetimefield_value(instant)
    table = connection.ops.quote_name(Event._meta.db_table)
    frame = event_rows.fetch(table, selection, f"occurred_at < %s AND {visible}", [end, *more])
    if selection.hidden:
        frame = frame.filter(~pl.col("customer_id").is_in(list(selection.hidden)))
    if selection.absorbed:
        frame = frame.with_columns(pl.col("customer_id").replace(selection.absorbed))
        frame = frame.sort("customer_id", "occurred_at", "id")
    found = {column.name: column for column in frame.get_columns()}
    found["event_id"] = found.pop("id").alias("event_id")
    found["order_hash"] = _order_hashes(table, frame)
    found |= {column.name: column for column in event_rows.readings(frame)}
    return pl.DataFrame([found[name] for name in EVENTS])


@stage("read")
def read_customers(customers: Customers, *, as_of: date, shop: Shop) -> pl.DataFrame:
    """The customers frame of the survivors among these, by id, with attributes as they held before `as_of`."""
    selection = select(customers)
    return _with_attributes(customer_rows.profiles(selection), selection, as_of=as_of, shop=shop)


@stage("read")
def read_people(ids: Sequence[int], *, as_of: date, shop: Shop) -> tuple[pl.DataFrame, Selection]:
    """The customers frame with input_version and is_profiled, and the merges of these customers.

    Versions before anything else: whatever changes from then on shows as a grown version.
    """
    people = customer_rows.people(ids)
    selection = select(people["customer_id"].to_list())
    return _with_attributes(people, selection, as_of=as_of, shop=shop), selection


def _with_attributes(frame: pl.DataFrame, selection: Selection, *, as_of: date, shop: Shop) -> pl.DataFrame:
    before = midnight(as_of, shop.zone)
    return frame.hstack(customer_rows.attributes(selection, frame["customer_id"], before=before))


@stage("read")
def read_versions(ids: Sequence[int]) -> pl.DataFrame:
    """customer_id, input_version, is_profiled of the survivors among `ids`, by id."""
    return customer_rows.versions(ids)


def input_versions(customers: Customers) -> dict[int, int]:
    """Survivor → input_version now."""
    survivors = Customer.objects.filter(merged_into__isnull=True)
    if isinstance(customers, IdRange):
        rows = survivors.filter(pk__range=(customers.first, customers.last))
        return dict(rows.values_list("pk", "input_version"))
    return dict(bulk.values_in(survivors, list(customers), "pk", "input_version", by="pk"))


@stage("vectors")
def write_features(
    frame: pl.DataFrame, *, as_of: date, context: ShopContext, input_versions: pl.Series
) -> int:
    """Store a features frame; a row lands unless something newer is stored. Returns how many landed.

    input_versions: of the customers, row by row.

    Needs a transaction that holds the customers' rows.
    """
    rows = frame.select(
        pl.col("customer_id").alias("customer"),
        pl.lit(as_of).alias("as_of"),
        input_versions.alias("input_version"),
        pl.lit(CATALOGUE_VERSION).alias("catalogue_version"),
        pl.lit(context.pk, pl.Int64).alias("context"),
        vectors.pack(frame).alias("vector"),
    )
    newer = bulk.Update(
        keys=("customer",),
        columns=("as_of", "input_version", "catalogue_version", "context", "vector"),
        newer=("as_of", "input_version"),
        or_equal=True,
        locked=True,
    )
    return bulk.insert(CustomerFeatures, rows.columns, rows, on_conflict=newer)


@stage("read")
def read_features(customers: Customers) -> pl.DataFrame:
    """Stored features: customer_id, as_of, input_version, numeric features, country and channel, by id.

    Rows of another catalogue version are left out: their numbers have other names.
    """
    quoted = connection.ops.quote_name
    features, people = (quoted(model._meta.db_table) for model in (CustomerFeatures, Customer))
    parts = []
    for part in Selection(customers, {}, frozenset()).parts():
        ours, values = within("f.customer_id", part)
        source = (
            "FROM (SELECT customer_id, as_of, f.input_version, vector, country, channel"
            f" FROM {features} f JOIN {people} c ON c.id = f.customer_id WHERE {ours} AND catalogue_version = %s"
            " AND c.merged_into_id IS NULL) stored ORDER BY customer_id"
        )
        parts.append(columns.read(STORED, source, [*values, CATALOGUE_VERSION]))
    stored = columns.together(STORED, parts)
    kept = stored.drop("vector").get_columns()
    return pl.DataFrame([*kept[:3], *vectors.unpack(stored["vector"]), *kept[3:]])


def is_known_now(as_of: date, shop: Shop) -> bool:
    """Whether nothing was live before `as_of`: what was known then is what is known now."""
    return not _live_before(midnight(as_of, shop.zone), shop)


def _live_before(instant: datetime, shop: Shop) -> list[tuple[int, datetime]]:
    """(source, live since) of the sources that were live before the instant."""
    if shop.frozen_on is not None:
        # A shop whose day is set back receives everything "later" than that day.
        return []
    live = in_force.kept("sources", _live_sources)
    return [(source, since) for source, since in live if since < instant]


def _live_sources() -> tuple[list[tuple[int, datetime]], bool]:
    live = EventSource.objects.exclude(live_since=None).order_by("pk").values_list("pk", "live_since")
    return [(source, since) for source, since in live if since is not None], True


def _visible(instant: datetime, live: Sequence[tuple[int, datetime]]) -> tuple[str, list[object]]:
    """Which versions count: the newest; of what live sources told, the one that was newest before the instant."""
    if not live:
        return "superseded_at IS NULL", []
    adapt = connection.ops.adapt_datetimefield_value
    told = "(" + " OR ".join(["(source_id = %s AND occurred_at >= %s)"] * len(live)) + ")"
    values = [value for source, since in live for value in (source, adapt(since))]
    at = adapt(instant)
    then = f"({told} AND received_at < %s AND (superseded_at IS NULL OR superseded_at >= %s))"
    return f"((NOT {told} AND superseded_at IS NULL) OR {then})", [*values, *values, at, at]


def _of_kinds(where: str, values: list[object], kinds: Sequence[int]) -> tuple[str, list[object]]:
    condition, more = within("kind", list(kinds))
    return f"{where} AND {condition}", [*values, *more]


def _order_hashes(table: str, frame: pl.DataFrame) -> pl.Series:
    """What ties versions of an order together, for the few customers who have a changed or cancelled one; else 0."""
    if not np.isin(frame["kind"].to_numpy(), (int(CHANGED), int(CANCELLED))).any():
        return pl.Series("order_hash", np.zeros(frame.height, dtype=np.int64))
    touched = frame.filter(pl.col("kind").is_in((int(CHANGED), int(CANCELLED))))
    events = frame.filter(
        pl.col("customer_id").is_in(touched["customer_id"].unique().implode()),
        pl.col("kind").is_in(ORDER_KINDS),
    )
    where, values = within("id", np.sort(events["id"].to_numpy()).tolist())
    keys = event_rows.order_keys(table, where, values)
    return frame.join(keys, on="id", how="left", maintain_order="left")["order_hash"].fill_null(0)
