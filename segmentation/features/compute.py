"""Features of a set of customers as of a date: training, batch and single customers all come through here."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import polars as pl

from segmentation.features.catalogue import expressions, terms
from segmentation.features.context_data import HORIZON_DAYS, ContextData
from segmentation.features.days import day_number, local_days
from segmentation.features.facts import streams
from segmentation.features.terms import Terms, evaluate
from segmentation.ml import btyd
from segmentation.stages import stage

DAYS_A_WEEK = 7.0
ATTRIBUTE_TYPES: dict[str, pl.DataType] = {
    "number": pl.Float64(),
    "boolean": pl.Float64(),
    "choice": pl.String(),
}


@stage("features")
def compute(
    events: pl.DataFrame, as_of: date, context: ContextData, *, customers: pl.DataFrame
) -> pl.DataFrame:
    """One row a customer, in the order of `customers`: customer_id, the catalogue, `attribute.*` features.

    `events` and `customers` are frames as in frames.py; ids in `customers` are distinct. Events on or after
    midnight of `as_of` (shop time) and events of other customers change nothing. A customer's row is the same
    to the last bit whichever customers are computed beside it. Raises ValueError if `context` is of a later
    date than `as_of`, since it would carry knowledge of the future.
    """
    if context.as_of > as_of:
        raise ValueError(f"The shop numbers of {context.as_of} may not serve features as of {as_of}.")
    ids = customers["customer_id"]
    if not ids.is_sorted():
        ordered = compute(events, as_of, context, customers=customers.sort("customer_id"))
        return ordered[ids.rank("ordinal").cast(pl.Int64) - 1]
    values = _terms(events, as_of, context, customers)
    columns = [_column(name, value) for name, value in values.items()]
    features = pl.DataFrame(columns).select(_expressions())
    return pl.DataFrame([ids, *features.get_columns(), *_attributes(customers, context)])


def _terms(
    events: pl.DataFrame, as_of: date, context: ContextData, customers: pl.DataFrame
) -> dict[str, np.ndarray | pl.Series]:
    facts = streams(events, customers=customers["customer_id"], as_of=as_of, zone=context.zone)
    sums: Terms = {name: evaluate(name, facts) for name in _event_terms()}
    shop = _shop_terms(as_of, context, rows=customers.height)
    own = _standing_terms(sums, context, as_of) | _purchase_terms(sums, context, as_of)
    return {**sums, **shop, **own, **_customer_terms(customers, context)}


def _column(name: str, values: np.ndarray | pl.Series) -> pl.Series:
    return values.alias(name) if isinstance(values, pl.Series) else pl.Series(name, values)


def _shop_terms(as_of: date, context: ContextData, *, rows: int) -> Terms:
    ahead = context.season_level(as_of, HORIZON_DAYS)
    behind = context.season_level(as_of - timedelta(days=HORIZON_DAYS), HORIZON_DAYS)
    return {
        "given:today": np.full(rows, day_number(as_of)),
        "given:minor_per_major": np.full(rows, context.minor_per_major),
        "given:season_next": np.full(rows, ahead),
        "given:season_last": np.full(rows, behind),
    }


def _customer_terms(customers: pl.DataFrame, context: ContextData) -> dict[str, pl.Series]:
    signed_up = customers["signed_up_at"]
    day = pl.Series(local_days(signed_up.dt.timestamp("us").fill_null(0).to_numpy(), context.zone))
    known = signed_up.is_not_null()
    return {
        "given:signed_up_day": day.set(~known, None),
        "given:country": customers["country"],
        "given:channel": customers["channel"],
    }


def _standing_terms(sums: Terms, context: ContextData, as_of: date) -> dict[str, pl.Series]:
    """Fifths, 5 the best; without an order in a year there is no standing."""
    recency = day_number(as_of) - sums["last:order_day"]
    active = sums["sum:orders:365:0"] > 0
    spent = sums["sum:spent:365:0"] / context.minor_per_major
    scores = {
        "given:recency_score": 5 - np.searchsorted(context.recency_cuts, recency, side="left"),
        "given:frequency_score": 1 + np.searchsorted(context.frequency_cuts, sums["sum:orders:365:0"]),
        "given:money_score": 1 + np.searchsorted(context.money_cuts, spent),
    }
    return {
        name: pl.Series(score).set(pl.Series(~active | (len(context.recency_cuts) == 0)), None)
        for name, score in scores.items()
    }


def _purchase_terms(sums: Terms, context: ContextData, as_of: date) -> dict[str, pl.Series]:
    """What BG/NBD and Gamma-Gamma expect of each customer with an order; null for the others."""
    days = sums["sum:order_days:all:0"]
    buyers = days > 0
    count = days[buyers].astype(np.float64)
    first, last = sums["first:order_day"][buyers], sums["last:order_day"][buyers]
    history = (count - 1.0, (last - first) / DAYS_A_WEEK, (day_number(as_of) - first) / DAYS_A_WEEK)
    mean_spend = sums["sum:spent:all:0"][buyers] / context.minor_per_major / count
    answers = {
        "given:btyd_alive": btyd.probability_alive(context.purchases, *history),
        "given:btyd_expected_orders": btyd.expected_orders(
            context.purchases, *history, horizon=HORIZON_DAYS / DAYS_A_WEEK
        ),
        "given:btyd_expected_spend": btyd.expected_spend(context.spend, count, mean_spend),
    }
    return {name: _spread(values, buyers) for name, values in answers.items()}


def _spread(values: np.ndarray, mask: np.ndarray) -> pl.Series:
    """The values at the rows of the mask, null elsewhere."""
    full = np.zeros(len(mask))
    full[mask] = values
    return pl.Series(full).set(pl.Series(~mask), None)


def _attributes(customers: pl.DataFrame, context: ContextData) -> list[pl.Series]:
    """The shop's own columns that are features; a choice is text, the rest are numbers."""
    columns = []
    for slug, kind in context.attributes:
        name = f"attribute.{slug}"
        dtype = ATTRIBUTE_TYPES[kind]
        if name in customers.columns:
            columns.append(customers[name].cast(dtype))
        else:
            columns.append(pl.Series(name, [None] * customers.height, dtype=dtype))
    return columns


@lru_cache(maxsize=1)
def _event_terms() -> tuple[str, ...]:
    extra = {"last:order_day", "first:order_day", "sum:orders:365:0", "sum:spent:365:0"}
    extra |= {"sum:order_days:all:0", "sum:spent:all:0"}
    return tuple(sorted({name for name in terms() if not name.startswith("given:")} | extra))


@lru_cache(maxsize=1)
def _expressions() -> list[pl.Expr]:
    return expressions()
