"""Rows about customers as a polars frame: profile columns and the shop's own attributes as of a day."""

# Names in these statements come from our own models; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from datetime import datetime

import polars as pl
from django.db import connection

from segmentation.features.frames import CUSTOMERS
from segmentation.features.selection import Selection, within
from segmentation.models import AttributeDefinition, AttributeValue, Customer

Kind = AttributeDefinition.Kind
VALUES: dict[str, pl.DataType] = {
    "customer_id": pl.Int64(),
    "definition_id": pl.Int64(),
    "valid_from": pl.String(),
    "number": pl.Float64(),
    "text": pl.String(),
}


def profiles(selection: Selection) -> pl.DataFrame:
    """A customers frame of the survivors, by id."""
    where, values = within("id", selection.customers)
    signed_up = _as_text("signed_up_at")
    table = connection.ops.quote_name(Customer._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, country, channel, {signed_up} FROM {table}"
            f" WHERE {where} AND merged_into_id IS NULL ORDER BY id",
            values,
        )
        rows = cursor.fetchall()
    schema = CUSTOMERS | {"signed_up_at": pl.String()}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(_instant("signed_up_at"))


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
        values.with_columns(_instant("valid_from"), owners.alias("owner"))
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
    where, values = selection.where("customer_id")
    table = connection.ops.quote_name(AttributeValue._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT customer_id, definition_id, {_as_text('valid_from')}, number, text FROM {table}"
            f" WHERE {where} AND valid_from < %s",
            [*values, connection.ops.adapt_datetimefield_value(before)],
        )
        rows = cursor.fetchall()
    return pl.DataFrame(rows, schema=VALUES, orient="row")


def _typed(definition: AttributeDefinition) -> pl.Expr:
    if definition.kind in {Kind.TEXT, Kind.CHOICE}:
        return pl.col("text")
    if definition.kind == Kind.BOOLEAN:
        return pl.col("number") != 0
    if definition.kind == Kind.DATE:
        return pl.col("number").cast(pl.Int32).cast(pl.Date).cast(pl.Datetime("us", "UTC"))
    return pl.col("number")


def _as_text(column: str) -> str:
    """Times as `YYYY-MM-DD HH:MM:SS.ffffff` (UTC) on either database."""
    if connection.vendor == "postgresql":
        return f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    return f"{column} || ''"


def _instant(column: str) -> pl.Expr:
    text = pl.col(column)
    seconds = text.str.slice(0, 19).str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us")
    fraction = text.str.slice(20, 6).str.pad_end(6, "0").cast(pl.Int64)
    return (seconds + pl.duration(microseconds=fraction)).cast(pl.Datetime("us", "UTC")).alias(column)
