"""Fit the shop-wide numbers from per-customer sums, which are gathered chunk by chunk."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Self
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from segmentation.features.context_data import (
    HORIZON_DAYS,
    MONTHS,
    NEUTRAL_SEASON,
    PRIOR_PURCHASES,
    PRIOR_SPEND,
    AttributeKind,
    ContextData,
)
from segmentation.features.days import EPOCH, day_number
from segmentation.features.facts import streams
from segmentation.features.orders import ORDER_KINDS
from segmentation.ml import btyd
from segmentation.ml.btyd import BGNBDParams, GammaGammaParams
from segmentation.ml.schema import NotEnoughData

YEAR = 365
DAYS_A_WEEK = 7.0
# A month counts for the season if the shop was there from its first days on.
LATEST_START_OF_MONTH = 3
SEASON_YEARS = 3
# More customers than this change no parameter in its third digit.
MAX_FIT_CUSTOMERS = 200_000


@dataclass(frozen=True)
class OrderSums:
    """What the fit needs of customers with orders, one entry a customer; `daily_orders` is by day number."""

    customer_id: np.ndarray
    first_day: np.ndarray
    last_day: np.ndarray
    order_days: np.ndarray
    spent: np.ndarray
    orders: np.ndarray
    year_orders: np.ndarray
    year_spent: np.ndarray
    horizon_spent: np.ndarray
    daily_orders: np.ndarray

    @classmethod
    def concat(cls, parts: Iterable[OrderSums]) -> Self:
        """Sums of chunks of different customers, as if they had been one."""
        chunks = list(parts)
        if not chunks:
            empty = np.zeros(0, dtype=np.int64)
            return cls(**{item.name: empty for item in fields(cls)})
        names = [item.name for item in fields(cls) if item.name != "daily_orders"]
        days = np.zeros(max(len(chunk.daily_orders) for chunk in chunks), dtype=np.int64)
        for chunk in chunks:
            days[: len(chunk.daily_orders)] += chunk.daily_orders
        columns = {name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in names}
        return cls(**columns, daily_orders=days)


def summarise(
    events: pl.DataFrame, *, as_of: date, zone: ZoneInfo, horizon_days: int = HORIZON_DAYS
) -> OrderSums:
    """Sums of the orders before `as_of` of every customer in the events frame who has any."""
    relevant = events.filter(pl.col("kind").is_in(ORDER_KINDS))
    ids = relevant["customer_id"].unique().sort()
    orders = streams(relevant, customers=ids, as_of=as_of, zone=zone)["orders"]
    count = orders.total("orders")
    buyers = count > 0
    columns = {
        "customer_id": ids.to_numpy(),
        "first_day": orders.first(orders.day),
        "last_day": orders.last(orders.day),
        "order_days": orders.total("order_days"),
        "spent": orders.total("spent"),
        "orders": count,
        "year_orders": orders.total("orders", oldest=YEAR),
        "year_spent": orders.total("spent", oldest=YEAR),
        "horizon_spent": orders.total("spent", oldest=horizon_days),
    }
    daily = np.bincount(orders.day).astype(np.int64)
    return OrderSums(**{name: values[buyers] for name, values in columns.items()}, daily_orders=daily)


def fit(
    events: pl.DataFrame,
    *,
    as_of: date,
    zone: ZoneInfo,
    minor_per_major: int,
    horizon_days: int = HORIZON_DAYS,
) -> ContextData:
    """Shop-wide numbers from an events frame of the whole shop; events at or after `as_of` change nothing."""
    sums = summarise(events, as_of=as_of, zone=zone, horizon_days=horizon_days)
    return fit_sums(sums, as_of=as_of, zone=zone, minor_per_major=minor_per_major, horizon_days=horizon_days)


def fit_sums(
    sums: OrderSums,
    *,
    as_of: date,
    zone: ZoneInfo,
    minor_per_major: int,
    horizon_days: int = HORIZON_DAYS,
    last_event_id: int = 0,
    attributes: tuple[tuple[str, AttributeKind], ...] = (),
) -> ContextData:
    """As `fit`, from sums. A shop too small or too young gets the stand-ins that ContextData flags."""
    today = day_number(as_of)
    purchases, purchases_fitted = _fit_purchases(sums, today)
    spend, spend_fitted = _fit_spend(sums, minor_per_major)
    season = season_levels(sums.daily_orders, as_of)
    active = sums.year_orders > 0
    return ContextData(
        as_of=as_of,
        time_zone=zone.key,
        minor_per_major=minor_per_major,
        horizon_days=horizon_days,
        purchases=purchases,
        purchases_fitted=purchases_fitted,
        spend=spend,
        spend_fitted=spend_fitted,
        season=season or NEUTRAL_SEASON,
        season_known=season is not None,
        recency_cuts=_cuts((today - sums.last_day)[active], 5),
        frequency_cuts=_cuts(sums.year_orders[active], 5),
        money_cuts=_cuts(sums.year_spent[active] / minor_per_major, 5),
        tier_cuts=_cuts(sums.horizon_spent[sums.horizon_spent > 0] / minor_per_major, 3),
        customers=len(sums.customer_id),
        orders=int(sums.orders.sum()),
        first_day=EPOCH + timedelta(days=int(sums.first_day.min())) if len(sums.first_day) else None,
        last_event_id=last_event_id,
        attributes=attributes,
    )


def season_levels(daily_orders: np.ndarray, as_of: date) -> tuple[float, ...] | None:
    """Orders a day of January to December beside the mean of their year; None under twelve whole months.

    Averages the last one to three runs of twelve whole months before `as_of`.
    """
    months = _whole_months(daily_orders, as_of)
    years = min(len(months) // MONTHS, SEASON_YEARS)
    if not years:
        return None
    levels = np.zeros(MONTHS)
    for year in range(years):
        block = months[len(months) - (year + 1) * MONTHS : len(months) - year * MONTHS]
        mean = sum(rate for _, rate in block) / MONTHS
        for month, rate in block:
            levels[month - 1] += rate / mean / years if mean else 1.0 / years
    return tuple(float(round(level, 6)) for level in levels)


def _whole_months(daily_orders: np.ndarray, as_of: date) -> list[tuple[int, float]]:
    """(month, orders a day) of each whole month from the first order to `as_of`."""
    days = np.flatnonzero(daily_orders)
    if not len(days):
        return []
    start = EPOCH + timedelta(days=int(days[0]))
    if start.day > LATEST_START_OF_MONTH:
        start += timedelta(days=calendar.monthrange(start.year, start.month)[1] - start.day + 1)
    start, months = start.replace(day=1), []
    while (end := start + timedelta(days=calendar.monthrange(start.year, start.month)[1])) <= as_of:
        orders = daily_orders[day_number(start) : day_number(end)].sum()
        months.append((start.month, float(orders) / (end - start).days))
        start = end
    return months


def _fit_purchases(sums: OrderSums, today: int) -> tuple[BGNBDParams, bool]:
    rows = _sample(sums.customer_id)
    frequency = sums.order_days[rows] - 1.0
    recency = (sums.last_day - sums.first_day)[rows] / DAYS_A_WEEK
    age = (today - sums.first_day)[rows] / DAYS_A_WEEK
    fitted = _try(lambda: btyd.fit_bgnbd(frequency, recency, age))
    return (fitted, True) if isinstance(fitted, BGNBDParams) else (PRIOR_PURCHASES, False)


def _fit_spend(sums: OrderSums, minor_per_major: int) -> tuple[GammaGammaParams, bool]:
    rows = _sample(sums.customer_id)
    count = sums.order_days[rows].astype(np.float64)
    mean = sums.spent[rows] / minor_per_major / count
    fitted = _try(lambda: btyd.fit_gamma_gamma(count, mean))
    if isinstance(fitted, GammaGammaParams):
        return fitted, True
    shop_mean = float(sums.spent.sum()) / minor_per_major / max(int(sums.order_days.sum()), 1)
    scale = shop_mean / PRIOR_SPEND.mean_spend if shop_mean else 1.0
    return GammaGammaParams(PRIOR_SPEND.p, PRIOR_SPEND.q, PRIOR_SPEND.gamma * scale), False


def _try(fit_model: Callable[[], BGNBDParams | GammaGammaParams]) -> BGNBDParams | GammaGammaParams | None:
    """The fit, or None if the data are too few or say nothing about the parameters."""
    try:
        fitted = fit_model()
    except NotEnoughData:
        return None
    values = [value for value in fitted.to_json().values() if value is not None]
    return fitted if np.isfinite(values).all() else None


def _sample(customer_id: np.ndarray) -> np.ndarray:
    """All customers, or every k-th id of a large shop."""
    step = -(-len(customer_id) // MAX_FIT_CUSTOMERS) or 1
    return np.flatnonzero(customer_id % step == 0)


def _cuts(values: np.ndarray, parts: int) -> tuple[float, ...]:
    """Borders of `parts` equal parts; none without values."""
    if not len(values):
        return ()
    return tuple(float(cut) for cut in np.quantile(values, np.arange(1, parts) / parts))
