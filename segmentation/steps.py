"""Steps that a shop can hope to win a customer for, as events that might have happened by today.

Each suggestion is a few steps. Their events are laid over the customer's own, so that every feature is computed as always.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import product
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from segmentation.features.frames import events_frame
from segmentation.features.orders import counted_orders
from segmentation.kinds import EventKind

# Orders of a suggestion lie a week apart, the last one today.
WEEK: Final = timedelta(days=7)
VISITS: Final = 3
VIEWS_A_VISIT: Final = 2
GOOD_RATING: Final = 5.0
ORDERS: Final = (0, 1, 2, 3)
SIZES: Final = (1.0, 1.5, 2.0, 3.0)
# What a step asks of a customer beside one usual order.
EFFORT: Final = {"visits": 0.25, "ticket": 0.25, "review": 0.25}


@dataclass(frozen=True)
class Suggestion:
    """orders of `size` usual baskets each; visits, a settled ticket and a good review besides."""

    orders: int = 0
    size: float = 1.0
    extras: tuple[str, ...] = ()

    @property
    def effort(self) -> float:
        return self.orders * self.size + sum(EFFORT[name] for name in self.extras)


@dataclass(frozen=True)
class Usual:
    """A customer's usual order."""

    amount_minor: int
    quantity: int
    line_count: int
    category_mask: int


def suggestions(*, open_tickets: bool) -> list[Suggestion]:
    """The smallest first; the first is to leave everything as it is."""
    extras = [(), ("visits",), ("review",)]
    if open_tickets:
        extras += [("ticket",), ("visits", "ticket")]
    made = {
        Suggestion(orders, size if orders else 1.0, extra)
        for orders, size, extra in product(ORDERS, SIZES, extras)
        if not (extra == ("review",) and not orders)
    }
    return sorted(made, key=lambda one: (one.effort, one.orders, one.extras))


def usual(events: pl.DataFrame) -> Usual | None:
    """The median of the customer's orders; None of who never ordered."""
    orders = counted_orders(events)
    if orders.is_empty():
        return None
    middle: dict[str, Any] = orders.select(pl.col("amount_minor", "quantity", "line_count").median()).row(
        0, named=True
    )
    mask = orders["category_mask"][-1]
    return Usual(round(middle["amount_minor"]), round(middle["quantity"]), round(middle["line_count"]), mask)


def laid_over(
    events: pl.DataFrame, tried: Sequence[Suggestion], usual_: Usual, *, as_of: date, zone: ZoneInfo
) -> pl.DataFrame:
    """An events frame with one pseudo-customer a suggestion, numbered from 1: the real events and those of its steps."""
    last_day = datetime.combine(as_of - timedelta(days=1), time(12), tzinfo=zone)
    rows = [
        {"customer_id": number, **row}
        for number, one in enumerate(tried, start=1)
        for row in _rows(one, usual_, last_day)
    ]
    real = pl.concat(
        [
            events.with_columns(pl.lit(number, pl.Int64).alias("customer_id"))
            for number in range(1, len(tried) + 1)
        ]
    )
    return events_frame(pl.concat([real, events_frame(rows)]) if rows else real)


def _rows(one: Suggestion, usual_: Usual, last_day: datetime) -> Iterator[dict[str, Any]]:
    for number in range(one.orders):
        yield {
            "kind": int(EventKind.ORDER_PLACED),
            "occurred_at": last_day - number * WEEK,
            "amount_minor": round(usual_.amount_minor * one.size),
            "quantity": max(1, round(usual_.quantity * one.size)),
            "line_count": max(1, usual_.line_count),
            "category_mask": usual_.category_mask,
        }
    if "visits" in one.extras:
        for number in range(VISITS * VIEWS_A_VISIT):
            yield {
                "kind": int(EventKind.VIEWED),
                "occurred_at": last_day - timedelta(days=number // VIEWS_A_VISIT, hours=1),
                "category_mask": usual_.category_mask,
            }
    if "ticket" in one.extras:
        yield {"kind": int(EventKind.TICKET_CLOSED), "occurred_at": last_day}
    if "review" in one.extras:
        yield {"kind": int(EventKind.REVIEWED), "occurred_at": last_day, "rating": GOOD_RATING}
