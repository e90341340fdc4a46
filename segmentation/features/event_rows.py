"""Rows of the event table as a polars frame, through Django's own connection, so a transaction sees its own rows."""

# Names in these statements come from our own models; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from django.db import connection

# (column, PostgreSQL type, binary type, polars type); NULL ratings travel as NaN, so every row has one length.
COLUMNS: tuple[tuple[str, str, str, pl.DataType], ...] = (
    ("id", "int8", ">i8", pl.Int64()),
    ("customer_id", "int8", ">i8", pl.Int64()),
    ("kind", "int2", ">i2", pl.Int16()),
    ("occurred_at", "timestamptz", ">i8", pl.Int64()),
    ("amount_minor", "int8", ">i8", pl.Int64()),
    ("discount_minor", "int8", ">i8", pl.Int64()),
    ("quantity", "int4", ">i4", pl.Int32()),
    ("line_count", "int4", ">i4", pl.Int32()),
    ("category_mask", "int8", ">i8", pl.Int64()),
    ("rating", "float8", ">f8", pl.Float64()),
)
UTC_TIME = pl.Datetime("us", "UTC")
# PostgreSQL counts microseconds from 2000-01-01.
POSTGRES_EPOCH = 946_684_800_000_000
# COPY's binary header is 19 bytes without extensions, its trailer 2
# (postgresql.org/docs/current/sql-copy.html, "Binary Format").
HEADER, TRAILER = 19, 2
WHOLE_SECONDS = "%Y-%m-%d %H:%M:%S"


def fetch(table: str, where: str, values: Sequence[Any]) -> pl.DataFrame:
    """The rows, sorted by customer, time and id; `where` is SQL with a parameter for each value."""
    if connection.vendor == "postgresql":
        frame = _by_copy(table, where, values)
    else:
        frame = _by_fetch(table, where, values)
    return frame.with_columns(pl.col("rating").fill_nan(None))


def _by_copy(table: str, where: str, values: Sequence[Any]) -> pl.DataFrame:
    columns = ", ".join(
        f"coalesce({name}, 'NaN')" if name == "rating" else f"{name}::{kind}" for name, kind, _, _ in COLUMNS
    )
    query = f"SELECT {columns} FROM {table} WHERE {where} ORDER BY customer_id, occurred_at, id"
    with (
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)", list(values)) as copy,
    ):
        data = b"".join(bytes(block) for block in copy)
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name, _, binary, _ in COLUMNS:
        fields += [(f"length of {name}", ">i4"), (name, binary)]
    rows = np.frombuffer(data, dtype=np.dtype(fields), offset=HEADER, count=_row_count(data, fields))
    frame = pl.DataFrame(
        {name: rows[name].astype(binary.replace(">", "=")) for name, _, binary, _ in COLUMNS}
    )
    return frame.with_columns((pl.col("occurred_at") + POSTGRES_EPOCH).cast(pl.Datetime("us")).cast(UTC_TIME))


def _row_count(data: bytes, fields: list[tuple[str, str]]) -> int:
    return (len(data) - HEADER - TRAILER) // np.dtype(fields).itemsize


def _by_fetch(table: str, where: str, values: Sequence[Any]) -> pl.DataFrame:
    # An expression has no declared type, so the driver leaves the time as text instead of parsing it row by row.
    columns = ", ".join(name if name != "occurred_at" else "occurred_at || ''" for name, *_ in COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM {table} WHERE {where} ORDER BY customer_id, occurred_at, id", list(values)
        )
        rows = cursor.fetchall()
    schema = {name: pl.String() if name == "occurred_at" else dtype for name, _, _, dtype in COLUMNS}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    text = pl.col("occurred_at")
    seconds = text.str.slice(0, 19).str.to_datetime(WHOLE_SECONDS, time_unit="us")
    fraction = text.str.slice(20, 6).str.pad_end(6, "0").cast(pl.Int64)
    return frame.with_columns((seconds + pl.duration(microseconds=fraction)).cast(UTC_TIME))


def order_keys(table: str, where: str, values: Sequence[Any]) -> pl.DataFrame:
    """id and order_hash of the rows that name an order."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, order_key FROM {table} WHERE {where} AND order_key <> ''", list(values))
        rows = cursor.fetchall()
    keys = pl.DataFrame(rows, schema={"id": pl.Int64, "order_key": pl.String}, orient="row")
    # The hash only has to tell the orders of one customer apart within one frame.
    return keys.select("id", pl.col("order_key").hash().reinterpret(signed=True).alias("order_hash"))
