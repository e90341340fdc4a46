"""What the shop cannot know: parameters, states and the best forecasts that they allow.

Two oracles. The *order oracle* knows a customer's parameters and every past order, but not whether they
have stopped: the best anybody could do from orders alone. The *state oracle* also knows who has stopped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from . import parameters as p
from .baskets import Lines
from .clock import Clock, Floats
from .lines import order_ids
from .orders import Orders, mean_dropout_probability
from .people import level_names
from .population import Ints, Population

POPULATION_DAYS = 365.0

TRUTH_COLUMNS: dict[str, pl.DataType] = {
    "customer_id": pl.String(),
    "shopper_type": pl.String(),
    "is_fraud": pl.Boolean(),
    "buying_rate": pl.Float64(),
    "dropout_probability": pl.Float64(),
    "mean_order_value": pl.Float64(),
    "season_amplitude": pl.Float64(),
    "weekend_amplitude": pl.Float64(),
    "browsing_rate": pl.Float64(),
    "return_logit": pl.Float64(),
    "satisfaction": pl.Float64(),
    "alive_at_end": pl.Boolean(),
    "stopped_at": pl.Datetime("us", "UTC"),
    "orders_in_window": pl.Int64(),
    "spend_in_window": pl.Float64(),
    "last_order_at": pl.Datetime("us", "UTC"),
    "in_churn_population": pl.Boolean(),
    "alive_probability": pl.Float64(),
    "oracle_churn_probability": pl.Float64(),
    "state_churn_probability": pl.Float64(),
    "expected_orders_90d": pl.Float64(),
    "expected_spend_90d": pl.Float64(),
    "future_orders_90d": pl.Int64(),
    "future_spend_90d": pl.Float64(),
    "churned_90d": pl.Boolean(),
}
FUTURE_COLUMNS: dict[str, pl.DataType] = {
    "customer_id": pl.String(),
    "order_id": pl.String(),
    "occurred_at": pl.Datetime("us", "UTC"),
    "quantity": pl.Int64(),
    "amount": pl.Float64(),
    "currency": pl.String(),
}


@dataclass(frozen=True, eq=False)
class Oracle:
    """Each (n,); not a number where a customer has not ordered before the end."""

    alive: Floats
    churn: Floats
    state_churn: Floats
    expected_orders: Floats


def oracle(people: Population, *, last_order: Floats, stopped: np.ndarray, clock: Clock) -> Oracle:
    """`last_order`: time of the last order before the end, not a number if none; both (n,).

    With q the mean dropout probability and s the operational time since the last order, the customer was
    kept by the coin and then silent by chance with weight (1 - q) exp(-rate s), or has stopped, with q.
    Expected orders over operational time h: the integral of rate exp(-rate q u) du from 0 to h.
    """
    a, b = people.season, people.weekend
    end = clock.operational(np.full(len(people), clock.end), a, b)
    silent = end - clock.operational(np.nan_to_num(last_order), a, b)
    ahead = clock.operational(np.full(len(people), clock.horizon), a, b) - end
    q = mean_dropout_probability(people.dropout_logit)
    kept = (1 - q) * np.exp(-people.rate * silent)
    alive = np.where(np.isnan(last_order), np.nan, kept / (kept + q))
    buys = -np.expm1(-people.rate * ahead)
    return Oracle(
        alive=alive,
        churn=1 - alive * buys,
        state_churn=np.where(np.isnan(last_order), np.nan, 1 - ~stopped * buys),
        expected_orders=alive * -np.expm1(-people.rate * q * ahead) / q,
    )


def truth_frame(
    *, people: Population, ids: pl.Series, orders: Orders, lines: Lines, clock: Clock, scale: int
) -> pl.DataFrame:
    """One row for each customer of the block. Money in major units of `scale` minor ones, rates per day."""
    n = len(people)
    paid = np.bincount(lines.order, lines.paid, len(orders))
    past = orders.time < clock.end
    window = past & (orders.time >= clock.start)
    last_order = np.full(n, np.nan)
    last_order[orders.owner[past]] = orders.time[past]  # sorted by time: the latest stays
    stop = np.full(n, np.inf)
    ended = orders.last & past
    stop[orders.owner[ended]] = orders.time[ended]
    best = oracle(people, last_order=last_order, stopped=np.isfinite(stop), clock=clock)
    future = np.bincount(orders.owner[~past], minlength=n)
    mean_value = people.tastes.mean_spend / scale
    frame = pl.DataFrame(
        {
            "customer_id": ids,
            "shopper_type": level_names(p.SHOPPER_TYPES, people.profile.shopper_type),
            "is_fraud": people.fraud,
            "buying_rate": people.rate,
            "dropout_probability": mean_dropout_probability(people.dropout_logit),
            "mean_order_value": mean_value,
            "season_amplitude": people.season,
            "weekend_amplitude": people.weekend,
            "browsing_rate": people.browsing,
            "return_logit": people.return_logit,
            "satisfaction": people.satisfaction,
            "alive_at_end": np.isinf(stop) & np.isfinite(people.first_order_delay),
            "stopped_at": _times(clock, stop),
            "orders_in_window": np.bincount(orders.owner[window], minlength=n),
            "spend_in_window": np.bincount(orders.owner[window], paid[window], n) / scale,
            "last_order_at": _times(clock, last_order),
            "in_churn_population": last_order >= np.maximum(clock.start, clock.end - POPULATION_DAYS),
            "alive_probability": best.alive,
            "oracle_churn_probability": best.churn,
            "state_churn_probability": best.state_churn,
            "expected_orders_90d": best.expected_orders,
            "expected_spend_90d": best.expected_orders * mean_value,
            "future_orders_90d": future,
            "future_spend_90d": np.bincount(orders.owner[~past], paid[~past], n) / scale,
            "churned_90d": future == 0,
        }
    )
    return frame.with_columns(
        pl.col("stopped_at", "last_order_at").dt.replace_time_zone("UTC"), pl.col(pl.Float64).fill_nan(None)
    ).cast(TRUTH_COLUMNS)  # type: ignore[arg-type]


def future_frame(
    *, ids: pl.Series, orders: Orders, lines: Lines, clock: Clock, currency: str, scale: int
) -> pl.DataFrame:
    """The orders from the end to the horizon, one row each."""
    row = np.flatnonzero(orders.time >= clock.end)
    owner = ids[orders.owner[row]]
    raw = pl.DataFrame(
        {
            "owner": owner,
            "order": orders.position[row],
            "occurred_at": clock.datetimes(clock.seconds(orders.time[row])),
            "quantity": np.bincount(lines.order, lines.quantity, len(orders))[row],
            "amount": np.bincount(lines.order, lines.paid, len(orders))[row] / scale,
        }
    )
    return raw.select(
        customer_id="owner",
        order_id=order_ids(),
        occurred_at=pl.col("occurred_at").dt.replace_time_zone("UTC"),
        quantity="quantity",
        amount="amount",
        currency=pl.lit(currency),
    ).cast(FUTURE_COLUMNS)  # type: ignore[arg-type]


def _times(clock: Clock, time: Floats) -> np.ndarray:
    known = np.isfinite(time)
    seconds: Ints = clock.seconds(np.where(known, time, 0.0))
    return np.where(known, clock.datetimes(seconds), np.datetime64("NaT", "us"))
