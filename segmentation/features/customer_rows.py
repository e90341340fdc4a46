"""Rows about customers as a polars frame: profile columns and the shop's own attributes as of a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl
from django.db import connection

from segmentation import columns
from segmentation.columns import Field
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


def profiles(selection: Selection) -> pl.DataFrame:
    """A customers frame of the survivors, by id."""
    where, values = within("id", selection.customers)
    table = connection.ops.quote_name(Customer._meta.db_table)
    source = f"FROM {table} WHERE {where} AND merged_into_id IS NULL ORDER BY id"
    frame = columns.read(PROFILE, source, values).rename({"id": "customer_id"})
    return frame.filter(~pl.col("customer_id").is_in(list(selection.hidden)))


def attributes(selection: Selection, *, before: datetime) -> list[pl.DataFrame]:
    """One frame (customer_id, attribute.<slug>) a definition: the newest value from before the instant.

    Values of merged customers count as the survivor's.
    """
    definitions = list(AttributeDefinition.objects.order_by("slug"))
    if not definitions:
        return []
    values = _values(selection, before)
    owners = pl.col("customer_id").replace(selection.absorbed)
    newest = (
        values.with_columns(owners.alias("owner"))
        .sort("owner", "definition_id", "valid_from", "customer_id")
        .group_by("owner", "definition_id", maintain_order=True)
        .agg(pl.col("number", "text").last())
    )
    return [
        newest.filter(pl.col("definition_id") == definition.pk).select(
            pl.col("owner").alias("customer_id"), _typed(definition).alias(f"attribute.{definition.slug}")
        )
        for definition in definitions
    ]


def _values(selection: Selection, before: datetime) -> pl.DataFrame:
    table = connection.ops.quote_name(AttributeValue._meta.db_table)
    instant = connection.ops.adapt_datetimefield_value(before)
    parts = []
    for part in selection.parts():
        where, values = within("customer_id", part)
        source = f"FROM {table} WHERE {where} AND valid_from < %s"
        parts.append(columns.read(VALUE, source, [*values, instant]))
    return pl.concat([columns.nothing(VALUE), *parts])


def _typed(definition: AttributeDefinition) -> pl.Expr:
    if definition.kind in {Kind.TEXT, Kind.CHOICE}:
        return pl.col("text")
    if definition.kind == Kind.BOOLEAN:
        return pl.col("number") != 0
    if definition.kind == Kind.DATE:
        return pl.col("number").cast(pl.Int32).cast(pl.Date).cast(pl.Datetime("us", "UTC"))
    return pl.col("number")
