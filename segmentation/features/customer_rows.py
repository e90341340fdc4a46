"""Rows about customers as a polars frame: profile columns and the shop's own attributes as of a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import polars as pl
from django.db import connection

from segmentation import columns, in_force
from segmentation.columns import UTC_TIME, Field
from segmentation.features.selection import Selection, within
from segmentation.models import AttributeDefinition, AttributeValue, Customer

Kind = AttributeDefinition.Kind
PROFILE = (
    Field("id", "int8"),
    Field("country", "text"),
    Field("channel", "text"),
    Field("signed_up_at", "timestamptz", nullable=True),
)
VERSION = (Field("id", "int8"), Field("input_version", "int8"), Field("is_profiled", "bool"))
PERSON = (*PROFILE, *VERSION[1:])
VALUE = (
    Field("customer_id", "int8"),
    Field("definition_id", "int8"),
    Field("valid_from", "timestamptz"),
    Field("number", "float8", nullable=True),
    Field("text", "text", nullable=True),
)


def versions(ids: Sequence[int]) -> pl.DataFrame:
    """customer_id, input_version, is_profiled of the survivors among `ids`, by id."""
    table = connection.ops.quote_name(Customer._meta.db_table)
    where, values = within("id", ids)
    source = f"FROM {table} WHERE {where} AND merged_into_id IS NULL ORDER BY id"
    return columns.read(VERSION, source, values).rename({"id": "customer_id"})


def survivors(*, after: int, last: int, limit: int) -> pl.Series:
    """Ids of the next customers by id who were merged into nobody."""
    table = connection.ops.quote_name(Customer._meta.db_table)
    source = f"FROM {table} WHERE id > %s AND id <= %s AND merged_into_id IS NULL ORDER BY id LIMIT %s"
    return columns.read([VERSION[0]], source, [after, last, limit])["id"]


def locked(fields: Sequence[Field], ids: Sequence[int]) -> pl.DataFrame:
    """These columns of the survivors among `ids`, by id, their rows held until the transaction ends.

    Always by id: two writers with the same customers wait for each other instead of locking up.
    """
    table = connection.ops.quote_name(Customer._meta.db_table)
    where, values = within("id", ids)
    hold = " FOR UPDATE" if connection.features.has_select_for_update else ""
    source = f"FROM {table} WHERE {where} AND merged_into_id IS NULL ORDER BY id{hold}"
    return columns.read(fields, source, values)


def people(ids: Sequence[int]) -> pl.DataFrame:
    """As `profiles` of the survivors among `ids`, and their input_version and is_profiled at that moment."""
    table = connection.ops.quote_name(Customer._meta.db_table)
    where, values = within("id", ids)
    source = f"FROM {table} WHERE {where} AND merged_into_id IS NULL ORDER BY id"
    return columns.read(PERSON, source, values).rename({"id": "customer_id"})


def profiles(selection: Selection) -> pl.DataFrame:
    """A customers frame of the survivors, by id."""
    where, values = within("id", selection.customers)
    table = connection.ops.quote_name(Customer._meta.db_table)
    source = f"FROM {table} WHERE {where} AND merged_into_id IS NULL ORDER BY id"
    frame = columns.read(PROFILE, source, values).rename({"id": "customer_id"})
    return frame.filter(~pl.col("customer_id").is_in(list(selection.hidden))) if selection.hidden else frame


def attributes(selection: Selection, ids: pl.Series, *, before: datetime) -> list[pl.Series]:
    """attribute.<slug> of each definition for these sorted ids: the newest value from before the instant.

    Values of merged customers count as the survivor's.
    """
    definitions = in_force.kept("attributes", _definitions)
    if not definitions:
        return []
    values = _values(selection, before)
    if selection.absorbed:
        values = values.with_columns(pl.col("customer_id").replace(selection.absorbed).alias("owner"))
    else:
        values = values.with_columns(owner="customer_id")
    if values.height:
        values = values.sort("owner", "definition_id", "valid_from", "customer_id")
    owner, of = values["owner"].to_numpy(), values["definition_id"].to_numpy()
    last = np.ones(len(owner), dtype=bool)
    last[:-1] = (owner[1:] != owner[:-1]) | (of[1:] != of[:-1])
    asked = ids.to_numpy()
    return [
        _typed(definition, values, columns.rows_of(owner, last & (of == definition.pk), asked)).alias(
            f"attribute.{definition.slug}"
        )
        for definition in definitions
    ]


def _definitions() -> tuple[tuple[AttributeDefinition, ...], bool]:
    return tuple(AttributeDefinition.objects.order_by("slug")), True


def _values(selection: Selection, before: datetime) -> pl.DataFrame:
    table = connection.ops.quote_name(AttributeValue._meta.db_table)
    instant = connection.ops.adapt_datetimefield_value(before)
    parts = []
    for part in selection.parts():
        where, values = within("customer_id", part)
        source = f"FROM {table} WHERE {where} AND valid_from < %s"
        parts.append(columns.read(VALUE, source, [*values, instant]))
    return columns.together(VALUE, parts)


def _typed(definition: AttributeDefinition, values: pl.DataFrame, rows: pl.Series) -> pl.Series:
    """The values of these rows in the type of the column."""
    if definition.kind in {Kind.TEXT, Kind.CHOICE}:
        return values["text"].gather(rows)
    number = values["number"].gather(rows)
    if definition.kind == Kind.BOOLEAN:
        return number != 0
    if definition.kind == Kind.DATE:
        return number.cast(pl.Int32).cast(pl.Date).cast(UTC_TIME)
    return number
