"""The two frames that features are computed from: their columns and types, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

# One row an event, sorted by customer_id, occurred_at, event id.
# event_id is that of the version that counts; 0 where it is not known.
# order_hash ties the versions and the cancellation of one order together; 0 where nothing is to tie.
EVENTS: dict[str, pl.DataType] = {
    "customer_id": pl.Int64(),
    "kind": pl.Int16(),
    "occurred_at": pl.Datetime("us", "UTC"),
    "amount_minor": pl.Int64(),
    "discount_minor": pl.Int64(),
    "quantity": pl.Int32(),
    "line_count": pl.Int32(),
    "category_mask": pl.Int64(),
    "rating": pl.Float64(),
    # Of a text that was read: sentiment from -1 to 1, topic from 1 on (0: none), how often it was said before.
    "sentiment": pl.Float64(),
    "topic": pl.Int16(),
    "repeats": pl.Int16(),
    "order_hash": pl.Int64(),
    "event_id": pl.Int64(),
}
# One row a customer; `attribute.<slug>` columns follow.
CUSTOMERS: dict[str, pl.DataType] = {
    "customer_id": pl.Int64(),
    "country": pl.String(),
    "channel": pl.String(),
    "signed_up_at": pl.Datetime("us", "UTC"),
}
DEFAULTS: dict[str, Any] = {
    "amount_minor": 0,
    "discount_minor": 0,
    "quantity": 0,
    "line_count": 0,
    "category_mask": 0,
    "topic": 0,
    "repeats": 0,
    "order_hash": 0,
    "event_id": 0,
}


def events_frame(rows: pl.DataFrame | Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> pl.DataFrame:
    """An events frame from rows with some of its columns: fills defaults, sets types, sorts."""
    given = rows if isinstance(rows, pl.DataFrame) else _typed(rows)
    columns = [_column(given, name, dtype) for name, dtype in EVENTS.items()]
    return given.select(columns).sort("customer_id", "occurred_at", maintain_order=True)


def customers_frame(ids: Sequence[int] | pl.Series) -> pl.DataFrame:
    """Customers of whom nothing is known but the id."""
    known = pl.DataFrame({"customer_id": ids}, schema={"customer_id": pl.Int64})
    return known.with_columns(
        pl.lit("").alias("country"),
        pl.lit("").alias("channel"),
        pl.lit(None, dtype=CUSTOMERS["signed_up_at"]).alias("signed_up_at"),
    )


def _typed(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> pl.DataFrame:
    if isinstance(rows, Mapping):
        return pl.DataFrame(rows, schema_overrides={n: t for n, t in EVENTS.items() if n in rows})
    return pl.DataFrame(rows, schema=EVENTS)


def _column(frame: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Expr:
    if name not in frame.columns:
        return pl.lit(DEFAULTS.get(name), dtype=dtype).alias(name)
    column = pl.col(name).cast(dtype)
    return column.fill_null(DEFAULTS[name]) if name in DEFAULTS else column
