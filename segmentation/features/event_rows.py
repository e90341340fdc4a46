"""Rows of the event table as a polars frame, through Django's own connection, so a transaction sees its own rows."""

# Names in these statements come from our own models; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from django.db import connection

from segmentation import columns
from segmentation.columns import Field
from segmentation.features.facts import IS_SPOKEN
from segmentation.features.orders import ORDER_KINDS
from segmentation.features.selection import Selection, within
from segmentation.kinds import EventKind
from segmentation.models import EventText

MONEY = ("kind", (*ORDER_KINDS, int(EventKind.REFUNDED)))
FIELDS = (
    Field("id", "int8"),
    Field("customer_id", "int8"),
    Field("kind", "int2"),
    Field("occurred_at", "timestamptz"),
    Field("category_mask", "int8"),
    # Most events are steps of browsing, which have no amounts; what is not sent costs nothing.
    Field("amount_minor", "int8", only=MONEY),
    Field("discount_minor", "int8", only=MONEY),
    Field("quantity", "int4", only=MONEY),
    Field("line_count", "int4", only=MONEY),
    Field("rating", "float8", nullable=True, only=("kind", (int(EventKind.REVIEWED),))),
)


def fetch(table: str, selection: Selection, where: str, values: Sequence[Any]) -> pl.DataFrame:
    """Rows of the selection, sorted by customer, time and id; those of absorbed customers last.

    `where` is SQL with a parameter for each value.
    """
    parts = []
    for part in selection.parts():
        ours, ids = within("customer_id", part)
        source = f"FROM {table} WHERE {ours} AND {where} ORDER BY customer_id, occurred_at, id"
        parts.append(columns.read(FIELDS, source, [*ids, *values]))
    return columns.together(FIELDS, parts)


READINGS = {"id": pl.Int64(), "sentiment": pl.Float64(), "topic": pl.Int16(), "repeats": pl.Int16()}


def readings(events: pl.DataFrame) -> list[pl.Series]:
    """sentiment, topic and repeats of these events, from what was read in their texts. events: with id and kind."""
    kind = events["kind"].to_numpy()
    spoken = events["id"].to_numpy()[IS_SPOKEN[kind]] if len(kind) else []
    rows = pl.DataFrame(schema=READINGS)
    if len(spoken):
        ours, values = within("event_id", np.sort(spoken).tolist())
        table = connection.ops.quote_name(EventText._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT event_id, sentiment, topic, repeats FROM {table} WHERE {ours} AND read_at IS NOT NULL",
                values,
            )
            rows = pl.DataFrame(cursor.fetchall(), schema=READINGS, orient="row")
    if rows.is_empty():
        unknown = pl.Series("sentiment", np.full(events.height, np.nan), nan_to_null=True)
        nothing = np.zeros(events.height, dtype=np.int16)
        return [unknown, *(pl.Series(name, nothing) for name in ("topic", "repeats"))]
    joined = events.select("id").join(rows, on="id", how="left", maintain_order="left")
    return [joined["sentiment"], *(joined[name].fill_null(0) for name in ("topic", "repeats"))]


def order_keys(table: str, where: str, values: Sequence[Any]) -> pl.DataFrame:
    """id and order_hash of the rows that name an order."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, order_key FROM {table} WHERE {where} AND order_key <> ''", list(values))
        rows = cursor.fetchall()
    keys = pl.DataFrame(rows, schema={"id": pl.Int64, "order_key": pl.String}, orient="row")
    # The hash only has to tell the orders of one customer apart within one frame.
    return keys.select("id", pl.col("order_key").hash().reinterpret(signed=True).alias("order_hash"))
