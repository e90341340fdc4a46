"""Columns of rows as polars series, without a Python object for every row on the way.

PostgreSQL sends each column as one binary array: less work than COPY on its side and on ours together.
"""

# Names in these statements come from our own models; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import psycopg
from django.db import connection

from segmentation import packed

UTC_TIME: Final = pl.Datetime("us", "UTC")
# PostgreSQL type → the bytes of a value, and the column it becomes. Text travels as JSON, bytes one behind the other.
KINDS: Final[dict[str, tuple[str, pl.DataType]]] = {
    "int2": (">i2", pl.Int16()),
    "int4": (">i4", pl.Int32()),
    "int8": (">i8", pl.Int64()),
    "float8": (">f8", pl.Float64()),
    "bool": ("?", pl.Boolean()),
    "timestamptz": (">i8", UTC_TIME),
    "date": (">i4", pl.Date()),
    "text": ("", pl.String()),
    "bytea": ("", pl.Binary()),
}
# A NULL has no bytes, so a value that never occurs travels in its place and every element is of one length.
STAND_INS: Final = {
    "float8": "'NaN'",
    "timestamptz": "'-infinity'",
    "date": "'-infinity'",
    "int8": str(np.iinfo(np.int64).min),
}
# PostgreSQL counts microseconds, and days, from 2000-01-01.
POSTGRES_EPOCH: Final = 946_684_800_000_000
POSTGRES_EPOCH_DAY: Final = 10_957
# What comes before the elements of an array: dimensions, null flag, type, length, lower bound, four bytes each
# (array_send in the server's src/backend/utils/adt/arrayfuncs.c).
ARRAY_HEADER: Final = 20
WHOLE_SECONDS: Final = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class Field:
    """A column to read. `nullable` holds for floats, times, days, int8, texts and bytes; others are never NULL.

    only: (a field read before this one, its values): in other rows the value is not fetched, but 0 or null.
    """

    name: str
    kind: str
    nullable: bool = False
    only: tuple[str, tuple[int, ...]] | None = None

    @property
    def dtype(self) -> pl.DataType:
        return KINDS[self.kind][1]

    @property
    def nothing(self) -> Any:
        return None if self.nullable else 0


def nothing(fields: Sequence[Field]) -> pl.DataFrame:
    """No rows of the fields."""
    return pl.DataFrame(schema={field.name: field.dtype for field in fields})


def together(fields: Sequence[Field], parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Rows of the fields that were read in parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return pl.concat([nothing(fields), *parts], rechunk=True)


def read(fields: Sequence[Field], source: str, values: Sequence[Any]) -> pl.DataFrame:
    """The fields of the rows of `source` ("FROM … WHERE … ORDER BY …"), in its order."""
    if connection.vendor == "postgresql":
        return _by_arrays(fields, source, values)
    return _by_rows(fields, source, values)


def _by_arrays(fields: Sequence[Field], source: str, values: Sequence[Any]) -> pl.DataFrame:
    columns = ", ".join(_sent(field) for field in fields)
    arrays = ", ".join(_array(field) for field in fields)
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        # Aggregates take the rows of an ordered subquery in its order
        # (postgresql.org/docs/current/functions-aggregate.html).
        query = f"SELECT {arrays} FROM (SELECT {columns} {source}) q"
        cursor.execute(query.encode(), list(values), binary=True)
        contents = iter(cursor.fetchone() or ())
    found: dict[str, np.ndarray] = {}
    columns_ = []
    for field in fields:
        content = next(contents)
        if field.kind == "text":
            columns_.append(pl.Series(field.name, json.loads(content or "[]"), dtype=pl.String))
        elif field.kind == "bytea":
            lengths = _elements("int4", next(contents))
            columns_.append(packed.split(content or b"", lengths).alias(field.name))
        else:
            found[field.name] = _spread(field, _elements(field.kind, content), found)
            columns_.append(_series(field, found[field.name]))
    return pl.DataFrame(columns_)


def rows_of(owner: np.ndarray, mask: np.ndarray, asked: np.ndarray) -> pl.Series:
    """Which of the marked rows, whose owners rise, belongs to each of the asked; null where none does."""
    rows = np.flatnonzero(mask)
    place = np.searchsorted(owner[rows], asked)
    found = np.zeros(len(asked), dtype=bool)
    inside = place < len(rows)
    found[inside] = owner[rows[place[inside]]] == asked[inside]
    taken = np.zeros(len(asked), dtype=np.int64)
    taken[found] = rows[place[found]]
    return pl.Series(taken, dtype=pl.Int64).set(pl.Series(~found), None)


def _sent(field: Field) -> str:
    if field.nullable and field.kind in STAND_INS:
        return f"coalesce({field.name}, {STAND_INS[field.kind]}) AS {field.name}"
    return field.name if field.kind in {"text", "bytea"} else f"{field.name}::{field.kind}"


def _array(field: Field) -> str:
    if field.kind == "text":
        return f"json_agg({field.name})::text"
    if field.kind == "bytea":
        lengths = f"array_send(array_agg(coalesce(length({field.name}), {packed.MISSING})))"
        return f"string_agg({field.name}, ''::bytea), {lengths}"
    condition = ""
    if field.only is not None:
        name, kept = field.only
        condition = f" FILTER (WHERE {name} IN ({', '.join(map(str, kept))}))"
    return f"array_send(array_agg({field.name}){condition})"


def _elements(kind: str, content: bytes | None) -> np.ndarray:
    binary = KINDS[kind][0]
    element = np.dtype([("length", ">i4"), ("value", binary)])
    # No rows make no array at all.
    elements = np.frombuffer(content or bytes(ARRAY_HEADER), element, offset=ARRAY_HEADER)
    return elements["value"].astype(binary.replace(">", "="))


def _spread(field: Field, values: np.ndarray, found: dict[str, np.ndarray]) -> np.ndarray:
    """The values of a field that is fetched for some rows only, laid out over all of them."""
    if field.only is None:
        return values
    name, kept = field.only
    rows = np.isin(found[name], kept)
    spread = np.full(len(rows), np.nan if field.kind == "float8" else 0, dtype=values.dtype)
    spread[rows] = values
    return spread


def _series(field: Field, values: np.ndarray) -> pl.Series:
    if field.kind == "float8":
        return pl.Series(field.name, values, nan_to_null=field.nullable)
    column = pl.Series(field.name, values)
    if field.kind == "timestamptz":
        column = pl.Series(field.name, values + POSTGRES_EPOCH).cast(pl.Datetime("us")).cast(UTC_TIME)
    elif field.kind == "date":
        column = pl.Series(field.name, values + POSTGRES_EPOCH_DAY).cast(pl.Date)
    # Minus infinity is the smallest number of its type.
    return column.set(pl.Series(values == np.iinfo(values.dtype).min), None) if field.nullable else column


def _by_rows(fields: Sequence[Field], source: str, values: Sequence[Any]) -> pl.DataFrame:
    # An expression has no declared type, so the driver leaves a time as text instead of parsing it row by row.
    columns = ", ".join(f"{f.name} || ''" if f.kind in {"timestamptz", "date"} else f.name for f in fields)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} {source}", list(values))
        rows = cursor.fetchall()
    given = zip(*rows, strict=True) if rows else ((),) * len(fields)
    frame = pl.DataFrame([_parsed(field, column) for field, column in zip(fields, given, strict=True)])
    return frame.with_columns(_where(field) for field in fields if field.only is not None)


def _parsed(field: Field, column: Sequence[Any]) -> pl.Series:
    if field.kind == "date":
        return pl.Series(field.name, column, dtype=pl.String).str.to_date("%Y-%m-%d")
    if field.kind != "timestamptz":
        return pl.Series(field.name, column, dtype=field.dtype)
    text = pl.Series(field.name, column, dtype=pl.String)
    seconds = text.str.slice(0, 19).str.to_datetime(WHOLE_SECONDS, time_unit="us")
    fraction = text.str.slice(20, 6).str.pad_end(6, "0").cast(pl.Int64)
    return (seconds + fraction.cast(pl.Duration("us"))).cast(UTC_TIME)


def _where(field: Field) -> pl.Expr:
    assert field.only is not None
    name, kept = field.only
    return pl.when(pl.col(name).is_in(kept)).then(field.name).otherwise(field.nothing).alias(field.name)
