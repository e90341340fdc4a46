"""Which orders count: the newest version of each, not cancelled, with a positive amount."""

from __future__ import annotations

import polars as pl

from segmentation.kinds import EventKind

PLACED, CHANGED, CANCELLED = EventKind.ORDER_PLACED, EventKind.ORDER_CHANGED, EventKind.ORDER_CANCELLED
# Columns that say when; `day` is added by facts.py.
MOMENT = ("occurred_at", "day")
ORDER_KINDS = (int(PLACED), int(CHANGED), int(CANCELLED))


def counted_orders(events: pl.DataFrame) -> pl.DataFrame:
    """One row an order, at the time it was placed, with the amounts of its newest version.

    `events` is an events frame (any kinds) already cut at the instant it is looked at from: a change or
    cancellation after that instant is not known yet. A change or cancellation names its order by
    `order_hash`; without one it ties to nothing and is left out. Keeps order and columns of `events`.
    """
    kind, amount = events["kind"].to_numpy(), events["amount_minor"].to_numpy()
    if not ((kind == CHANGED) | (kind == CANCELLED)).any():
        return events.filter(pl.Series((kind == PLACED) & (amount > 0)))
    orders = _newest_versions(events.filter(pl.col("kind").is_in(ORDER_KINDS)))
    return orders.filter(pl.col("amount_minor") > 0)


def _newest_versions(orders: pl.DataFrame) -> pl.DataFrame:
    """Only orders that a change or cancellation names are tied, so no other customer's rows matter."""
    names = ["customer_id", "order_hash"]
    touched = orders.filter(pl.col("kind") != int(PLACED), pl.col("order_hash") != 0).select(names).unique()
    alone = orders.filter(pl.col("kind") == int(PLACED)).join(
        touched, on=names, how="anti", maintain_order="left"
    )
    versions = orders.join(touched, on=names, how="semi", maintain_order="left")
    moment = [name for name in MOMENT if name in orders.columns]
    newest = versions.group_by(names, maintain_order=True).agg(
        *(pl.col(name).first() for name in moment),
        (pl.col("kind") == int(CANCELLED)).any().alias("cancelled"),
        pl.exclude(*names, "kind", *moment).last(),
    )
    kept = newest.filter(~pl.col("cancelled")).with_columns(pl.lit(int(PLACED), dtype=pl.Int16).alias("kind"))
    both = pl.concat([alone, kept.select(orders.columns)])
    return both.sort("customer_id", "occurred_at", maintain_order=True)
