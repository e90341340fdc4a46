"""The newest events of a set of customers as of a date, from the same frame that features are computed from.

Training, batch and single customers all come through `build`. What counts is what counts for features: the newest
version of an order and no cancelled one, nothing on or after the day itself, days cut at the shop's midnight.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from segmentation.features.context_data import ContextData
from segmentation.features.days import EPOCH_INSTANT, midnight
from segmentation.features.facts import known_events
from segmentation.features.orders import ORDER_KINDS, counted_orders
from segmentation.kinds import EventKind
from segmentation.ml.sequences import Sequences
from segmentation.stages import stage

MICROSECONDS_A_DAY = 86_400_000_000.0
DAYS_A_YEAR = 365.25


@stage("sequences")
def build(
    events: pl.DataFrame, as_of: date, context: ContextData, *, customers: pl.Series, newest: int
) -> Sequences:
    """One row a customer in the order of `customers`, whose ids are distinct: the `newest` events before `as_of`.

    A customer's row is the same whichever customers are beside it. Raises ValueError like `features.compute`.
    """
    if context.as_of > as_of:
        raise ValueError(f"The shop numbers of {context.as_of} may not serve events as of {as_of}.")
    if not customers.is_sorted():
        ordered = build(events, as_of, context, customers=customers.sort(), newest=newest)
        return ordered.take(customers.rank("ordinal").cast(pl.Int64).to_numpy() - 1)
    counted = _counted(known_events(events, ids=customers.to_numpy(), as_of=as_of, zone=context.zone))
    found = Sequences.empty(len(customers), newest)
    if not counted.height:
        return found
    position = counted["position"].to_numpy()
    # Counted from the customer's newest event backwards.
    age = np.searchsorted(position, position, side="right") - 1 - np.arange(len(position))
    kept = age < newest
    position, age = position[kept], age[kept]
    lengths = np.bincount(position, minlength=len(customers))
    place = lengths[position] - 1 - age
    found.numeric[position, place] = _channels(counted, as_of, context)[kept]
    found.kinds[position, place] = counted["kind"].to_numpy()[kept]
    found.categories[position, place] = counted["category_mask"].to_numpy()[kept]
    found.lengths[:] = lengths
    return found


def _counted(known: pl.DataFrame) -> pl.DataFrame:
    """Orders that count, and everything else that is behaviour, by customer and time."""
    orders = counted_orders(known)
    others = known.filter(~pl.col("kind").is_in([*ORDER_KINDS, int(EventKind.SIGNED_UP)]))
    both = pl.concat([orders, others.select(orders.columns)])
    return both.sort("customer_id", "occurred_at", maintain_order=True)


def _channels(counted: pl.DataFrame, as_of: date, context: ContextData) -> np.ndarray:
    """(events, len(CHANNELS)) float32, in the order of ml.sequences.CHANNELS."""
    position = counted["position"].to_numpy()
    instants = counted["occurred_at"].dt.timestamp("us").to_numpy()
    today = (midnight(as_of, context.zone) - EPOCH_INSTANT).total_seconds() * 1e6
    ages = np.maximum(today - instants, 0.0) / MICROSECONDS_A_DAY
    gaps = np.zeros(len(ages))
    same = position[1:] == position[:-1]
    gaps[1:] = np.where(same, np.maximum(instants[1:] - instants[:-1], 0) / MICROSECONDS_A_DAY, 0.0)
    turn = 2 * np.pi * (counted["day"].to_numpy() % DAYS_A_YEAR) / DAYS_A_YEAR
    amount = np.abs(counted["amount_minor"].to_numpy()) / context.minor_per_major
    channels = (
        np.log1p(gaps),
        np.log1p(ages),
        np.sin(turn),
        np.cos(turn),
        np.log1p(amount),
        np.log1p(np.abs(counted["quantity"].to_numpy().astype(np.float64))),
        (counted["kind"].to_numpy() == EventKind.REFUNDED).astype(np.float64),
    )
    return np.column_stack(channels).astype(np.float32)
