"""What became of customers after a cutoff: the answers that learners learn from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from segmentation.features.days import day_number
from segmentation.features.facts import streams
from segmentation.features.orders import ORDER_KINDS
from segmentation.features.streams import Stream

# Who is learned from and scored by behaviour: at least one order in this many days before the cutoff.
POPULATION_DAYS = 365
TIER_COUNT = 3
# Of its equal share of the buyers; a quarter of them for three tiers.
MIN_TIER_SHARE = 0.75
HISTORY_DAYS = 90
SPACING_DAYS = 90
MAX_CUTOFFS = 12


def label(
    events: pl.DataFrame,
    *,
    cutoff: date,
    zone: ZoneInfo,
    horizon_days: int,
    minor_per_major: int,
    customers: pl.Series | None = None,
) -> pl.DataFrame:
    """One row for each of `customers` (sorted ids; None: the population at `cutoff`), from an events frame.

    orders_ahead, spend_ahead (Float64, major units): orders of the `horizon_days` local days from the cutoff on,
    as they stand at the end of the horizon; returns are not deducted. churn: 1.0 without an order, else 0.0.
    next_order_days: whole days from the cutoff to the next order, 0 on its day; infinite without one.
    """
    orders = events.filter(pl.col("kind").is_in(ORDER_KINDS))
    ids = population(orders, cutoff=cutoff, zone=zone) if customers is None else customers
    end = cutoff + timedelta(days=horizon_days)
    after = streams(orders, customers=ids, as_of=end, zone=zone)["orders"]
    count = after.total("orders", oldest=horizon_days)
    return pl.DataFrame(
        {
            "customer_id": ids,
            "orders_ahead": count,
            "spend_ahead": after.total("spent", oldest=horizon_days) / minor_per_major,
            "churn": (count == 0).astype(np.float64),
            "next_order_days": days_to_next(after, cutoff),
        }
    )


def population(events: pl.DataFrame, *, cutoff: date, zone: ZoneInfo) -> pl.Series:
    """Sorted ids of the customers with an order in the year before `cutoff`."""
    ids = events["customer_id"].unique().sort()
    before = streams(events, customers=ids, as_of=cutoff, zone=zone)["orders"]
    return ids.filter(pl.Series(before.total("orders", oldest=POPULATION_DAYS) > 0))


def days_to_next(orders: Stream, cutoff: date) -> np.ndarray:
    """(m,) whole days from the cutoff to each customer's first order since; infinite without one."""
    first = day_number(cutoff)
    after = orders.day >= first
    found = np.full(orders.customers, np.inf)
    np.minimum.at(found, orders.position[after], (orders.day[after] - first).astype(np.float64))
    return found


def spans(days: np.ndarray, borders: Sequence[int]) -> np.ndarray:
    """(n,) int64: which span of days an order falls in, [0, b1) 0, [b1, b2) 1, …, later than all of them last."""
    return np.searchsorted(np.asarray(borders), days, side="right").astype(np.int64)


def tier_cuts(spend: np.ndarray, count: int = TIER_COUNT) -> tuple[float, ...]:
    """Borders between `count` tiers: equal parts of the positive spends. Give it training rows only.

    No borders without a positive spend.
    """
    positive = spend[np.isfinite(spend) & (spend > 0)]
    if not len(positive):
        return ()
    return tuple(float(cut) for cut in np.quantile(positive, np.arange(1, count) / count))


def still_fit(cuts: Sequence[float], spend: np.ndarray, count: int = TIER_COUNT) -> bool:
    """Whether each tier that these borders make holds at least MIN_TIER_SHARE of an equal part of the buyers."""
    positive = spend[np.isfinite(spend) & (spend > 0)]
    if len(cuts) != count - 1 or not len(positive):
        return False
    shares = np.bincount(tiers(positive, cuts), minlength=count + 1)[1:] / len(positive)
    return bool(shares.min() >= MIN_TIER_SHARE / count)


def tiers(spend: np.ndarray, cuts: Sequence[float]) -> np.ndarray:
    """(n,) int64: 0 none, then the tiers from the lowest; -1 where the spend is not known.

    A spend on a border belongs to the lower tier.
    """
    found = np.where(spend > 0, 1 + np.searchsorted(np.asarray(cuts), spend, side="left"), 0)
    return np.where(np.isfinite(spend), found, -1).astype(np.int64)


def choose_cutoffs(
    *, first_day: date, end: date, horizon_days: int, most: int = MAX_CUTOFFS
) -> tuple[date, ...]:
    """As many cutoffs as fit, oldest first, 90 days apart.

    The last has its whole horizon before `end` (the first day without data), the first has 90 days of history.
    """
    chosen: list[date] = []
    cutoff = end - timedelta(days=horizon_days)
    while cutoff >= first_day + timedelta(days=HISTORY_DAYS) and len(chosen) < most:
        chosen.append(cutoff)
        cutoff -= timedelta(days=SPACING_DAYS)
    return tuple(reversed(chosen))
