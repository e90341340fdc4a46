"""What the offers of a campaign cost: of each customer, those given within the days whose orders count.

Campaigns whose terms need counting write a row for each offer given (Grant), each with its cost: all of them count,
whoever had the offer anew. Others say only in decisions that the offer was given, and it is had once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl
from django.db import connection

from segmentation import columns
from segmentation.features.selection import Selection, within
from segmentation.models import Grant

_FIELDS: Final = (
    columns.Field("customer_id", "int8"),
    columns.Field("granted_at", "timestamptz"),
    columns.Field("cost_minor", "int8"),
)
# A decision and its grant are of one moment, told by two clocks.
MOMENT: Final = pl.duration(hours=1)


def counted(campaigns: Sequence[int]) -> list[int]:
    """Of these campaigns those that write down each offer given."""
    written = Grant.objects.filter(campaign__in=campaigns).order_by().values_list("campaign", flat=True)
    return sorted(written.distinct())


def of_each(
    people: pl.DataFrame, selection: Selection, campaigns: Sequence[int], *, window_days: int
) -> pl.Series:
    """(n,) minor units, for each row of `people` (arms.ARMS). campaigns: `counted` ones; none: decisions alone say."""
    told = people.select("customer_id", "since", "given_at", "cost_minor")
    grants = _grants(selection, campaigns).join(told.select("customer_id", "since"), on="customer_id")
    window = pl.duration(days=window_days)
    inside = (pl.col("granted_at") > pl.col("since") - MOMENT) & (
        pl.col("granted_at") < pl.col("since") + window
    )
    sums = grants.filter(inside).group_by("customer_id").agg(pl.col("cost_minor").sum().alias("given"))
    first = pl.when(pl.col("given_at") < pl.col("since") + window).then("cost_minor").otherwise(0)
    joined = told.join(sums, on="customer_id", how="left", maintain_order="left")
    return joined.select(pl.coalesce("given", first).fill_null(0).alias("cost_minor")).to_series()


def _grants(selection: Selection, campaigns: Sequence[int]) -> pl.DataFrame:
    table = connection.ops.quote_name(Grant._meta.db_table)
    which, keys = within("campaign_id", campaigns)
    parts = []
    for part in selection.parts() if campaigns else ():
        whose, ids = within("customer_id", part)
        parts.append(columns.read(_FIELDS, f"FROM {table} WHERE {whose} AND {which}", [*ids, *keys]))
    rows = columns.together(_FIELDS, parts)
    return (
        rows.with_columns(pl.col("customer_id").replace(selection.absorbed)) if selection.absorbed else rows
    )
