"""Plain facts of customers that lists show and that decide who is scored: orders, spend, first and last day."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from segmentation.features.days import midnight
from segmentation.features.orders import counted_orders
from segmentation.labels import POPULATION_DAYS
from segmentation.models import Shop
from segmentation.serving import NO_ORDERS, NO_RECENT_ORDER
from segmentation.stages import stage


@stage("features")
def facts_of(events: pl.DataFrame, customers: pl.DataFrame, *, as_of: date, shop: Shop) -> pl.DataFrame:
    """Rows and order of `customers` (with `is_profiled`): orders, spent_minor, first and last order."""
    orders = counted_orders(events)
    bought = orders.group_by("customer_id").agg(
        pl.len().cast(pl.Int64).alias("orders"),
        pl.col("amount_minor").sum().alias("spent_minor"),
        pl.col("occurred_at").min().alias("first_order_at"),
        pl.col("occurred_at").max().alias("last_order_at"),
    )
    return (
        customers.select("customer_id", "is_profiled")
        .join(bought, on="customer_id", how="left", maintain_order="left")
        .with_columns(pl.col("orders", "spent_minor").fill_null(0))
    )


def outside_population(facts: pl.DataFrame, *, as_of: date, shop: Shop) -> np.ndarray:
    """(n,) why behaviour models say nothing of a customer, or ""."""
    oldest = midnight(as_of - timedelta(days=POPULATION_DAYS), shop.zone)
    reasons = np.full(facts.height, "", dtype=object)
    reasons[facts.select((pl.col("last_order_at") < oldest).fill_null(False)).to_series().to_numpy()] = (
        NO_RECENT_ORDER
    )
    reasons[facts["orders"].to_numpy() == 0] = NO_ORDERS
    return reasons
