"""Customers to decide anew at a moment that is known now: contact hours open, a priority or an override ends.

One row a customer, the earliest moment; a sweep marks them due, which is what makes them be decided.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import polars as pl
from django.db import connection, transaction

from segmentation import bulk
from segmentation.due import mark_due
from segmentation.models import DecideAgain

AT_ONCE: Final = 2000
MOMENTS: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "customer_id": pl.Int64,
    "at": pl.Datetime("us", "UTC"),
}


def plan(moments: Iterable[tuple[int, datetime]]) -> None:
    """Remember (customer id, moment); of several for a customer the earliest counts. The customers are locked."""
    plan_all(pl.DataFrame(list(moments), schema=MOMENTS, orient="row"))


def plan_all(moments: pl.DataFrame) -> None:
    """`plan` for a frame of MOMENTS."""
    if moments.is_empty():
        return
    earliest = moments.group_by("customer_id").agg(pl.col("at").min()).sort("customer_id")
    known = pl.DataFrame(
        list(bulk.values_in(DecideAgain.objects.all(), earliest["customer_id"].to_list(), *MOMENTS)),
        schema={"customer_id": pl.Int64, "known": MOMENTS["at"]},
        orient="row",
    )
    beside = earliest.join(known, on="customer_id", how="left", maintain_order="left")
    sooner = beside.filter(pl.col("known").is_null() | (pl.col("at") < pl.col("known"))).drop("known")
    conflict = bulk.Update(keys=("customer_id",), columns=("at",), locked=True)
    bulk.insert(DecideAgain, sooner.columns, sooner, on_conflict=conflict)


def release(now: datetime) -> int:
    """Mark due whose moment has come; returns how many. A sweep calls it."""
    with transaction.atomic():
        rows = DecideAgain.objects.filter(at__lte=now).order_by("at", "pk")
        if connection.features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(skip_locked=True)
        ready = dict(rows.values_list("pk", "customer_id")[:AT_ONCE])
        if not ready:
            return 0
        DecideAgain.objects.filter(pk__in=ready).delete()
        mark_due(ready.values(), cause="again")
    return len(ready)
