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
    """Rows and order of `customers` (with `is_profiled`): orders, spent_minor, first and last order.

    `events` are sorted by customer and time.
    """
    orders, ids = counted_orders(events), customers["customer_id"].to_numpy()
    owner = orders["customer_id"].to_numpy()
    first, end = np.searchsorted(owner, ids), np.searchsorted(owner, ids, side="right")
    running = np.concatenate([[0], np.cumsum(orders["amount_minor"].to_numpy())]).astype(np.int64)
    none = pl.Series(first == end)
    times = orders["occurred_at"]
    return pl.DataFrame(
        [
            customers["customer_id"],
            customers["is_profiled"],
            pl.Series("orders", end - first, dtype=pl.Int64),
            pl.Series("spent_minor", running[end] - running[first]),
            _picked(times, first, none).alias("first_order_at"),
            _picked(times, end - 1, none).alias("last_order_at"),
        ]
    )


def _picked(times: pl.Series, rows: np.ndarray, none: pl.Series) -> pl.Series:
    return times.gather(pl.Series(rows, dtype=pl.Int64).set(none, None))


def outside_population(facts: pl.DataFrame, *, as_of: date, shop: Shop) -> np.ndarray:
    """(n,) why behaviour models say nothing of a customer, or ""."""
    oldest = midnight(as_of - timedelta(days=POPULATION_DAYS), shop.zone)
    reasons = np.full(facts.height, "", dtype=object)
    long_ago = (facts["last_order_at"] < oldest).fill_null(False)
    reasons[long_ago.to_numpy()] = NO_RECENT_ORDER
    reasons[facts["orders"].to_numpy() == 0] = NO_ORDERS
    return reasons
