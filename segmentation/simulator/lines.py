"""Event lines as arrays: what every part of the simulator hands over, and how they become a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation.kinds import EventKind

from .catalogue import Catalogue
from .clock import Clock
from .population import Ints
from .words import CATEGORIES

NONE = -1
EVENT_COLUMNS: dict[str, pl.DataType] = {
    "event_id": pl.String(),
    "kind": pl.String(),
    "occurred_at": pl.Datetime("us", "UTC"),
    "customer_id": pl.String(),
    "order_id": pl.String(),
    "product_id": pl.String(),
    "product_name": pl.String(),
    "category": pl.String(),
    "quantity": pl.Int64(),
    "unit_price": pl.Float64(),
    "discount": pl.Float64(),
    "currency": pl.String(),
    "rating": pl.Int64(),
    "text": pl.String(),
    "channel": pl.String(),
}
_SLUGS = {int(kind): kind.slug for kind in EventKind}


@dataclass(frozen=True, eq=False)
class EventLines:
    """Each array (lines,); `NONE` stands for "does not apply". Money in minor units.

    Lines of one event share owner, second, kind and order, and stand one after the other.
    """

    owner: Ints  # row of the customer in the block; guests follow the customers
    second: Ints  # since the clock's origin
    kind: Ints
    order: Ints  # the owner's order number, from 0
    product: Ints
    quantity: Ints
    unit_price: Ints
    discount: Ints
    rating: Ints
    text: NDArray[np.object_]  # str or None

    def __len__(self) -> int:
        return len(self.owner)

    def take(self, keep: NDArray[np.bool_] | Ints) -> EventLines:
        return EventLines(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})


def event_lines(
    *,
    owner: Ints,
    second: Ints,
    kind: EventKind | Ints,
    order: Ints | None = None,
    product: Ints | None = None,
    quantity: Ints | None = None,
    unit_price: Ints | None = None,
    discount: Ints | None = None,
    rating: Ints | None = None,
    text: Sequence[str] | None = None,
) -> EventLines:
    """Lines with `NONE` in every column that is left out."""
    n = len(owner)
    empty = np.full(n, NONE, dtype=np.int64)
    words = np.full(n, None, dtype=object)
    if text is not None:
        words[:] = text
    return EventLines(
        owner=owner,
        second=second,
        kind=np.full(n, int(kind), dtype=np.int64) if isinstance(kind, EventKind) else kind,
        order=empty if order is None else order,
        product=empty if product is None else product,
        quantity=empty if quantity is None else quantity,
        unit_price=empty if unit_price is None else unit_price,
        discount=empty if discount is None else discount,
        rating=empty if rating is None else rating,
        text=words,
    )


def concatenate(parts: Sequence[EventLines]) -> EventLines:
    return EventLines(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(EventLines)
        }
    )


@dataclass(frozen=True, eq=False)
class Labels:
    """How owners are called: guests have a label for their ids, but no customer id."""

    owner: pl.Series
    customer: pl.Series
    app_share: NDArray[np.float64]


def to_frame(
    lines: EventLines, *, labels: Labels, catalogue: Catalogue, clock: Clock, currency: str, decimals: int
) -> pl.DataFrame:
    """The file's columns, sorted by owner and time. Ids depend on the owner's own events alone."""
    lines = lines.take(np.lexsort((lines.order, lines.kind, lines.second, lines.owner)))
    scale = 10**decimals
    name = pl.Series(catalogue.names)
    categories = pl.Series(list(CATEGORIES))
    product_category = np.where(lines.product == NONE, NONE, catalogue.category[lines.product])
    raw = pl.DataFrame(
        {
            "owner": labels.owner[lines.owner],
            "customer_id": labels.customer[lines.owner],
            "number": _event_numbers(lines),
            "order": lines.order,
            "kind": lines.kind,
            "occurred_at": clock.datetimes(lines.second),
            "product_id": _gather(pl.Series(catalogue.ids), lines.product),
            "product_name": _gather(name, lines.product),
            "category": _gather(categories, product_category),
            "quantity": lines.quantity,
            "unit_price": lines.unit_price,
            "discount": lines.discount,
            "rating": lines.rating,
            "text": pl.Series(lines.text.tolist(), dtype=pl.String),
            "channel": np.where(_uses_app(lines, labels), "app", "web"),
        }
    )
    return raw.select(
        event_id=pl.format("{}-E{}", "owner", pl.col("number").cast(pl.String).str.zfill(5)),
        kind=pl.col("kind").replace_strict(_SLUGS, return_dtype=pl.String),
        occurred_at=pl.col("occurred_at").dt.replace_time_zone("UTC"),
        customer_id="customer_id",
        order_id=order_ids(),
        product_id="product_id",
        product_name="product_name",
        category="category",
        quantity=_known("quantity"),
        unit_price=_known("unit_price") / scale,
        discount=_known("discount") / scale,
        currency=pl.when(pl.col("unit_price") != NONE).then(pl.lit(currency)),
        rating=_known("rating"),
        text="text",
        channel="channel",
    )


def order_ids() -> pl.Expr:
    """Order ids such as C0000123-O004 from the columns `owner` and `order`."""
    number = (pl.col("order") + 1).cast(pl.String).str.zfill(3)
    return pl.when(pl.col("order") != NONE).then(pl.format("{}-O{}", "owner", number))


def _event_numbers(lines: EventLines) -> Ints:
    """1, 2, 3 … within each owner; the lines of one order or refund share a number."""
    n = len(lines)
    new_owner = np.ones(n, dtype=bool)
    new_owner[1:] = lines.owner[1:] != lines.owner[:-1]
    several = np.isin(lines.kind, (EventKind.ORDER_PLACED, EventKind.REFUNDED))
    same = np.zeros(n, dtype=bool)
    same[1:] = several[1:] & (lines.kind[1:] == lines.kind[:-1]) & (lines.order[1:] == lines.order[:-1])
    starts = new_owner | ~same
    running = np.cumsum(starts)
    return running - np.maximum.accumulate(np.where(new_owner, running - 1, 0))


def _uses_app(lines: EventLines, labels: Labels) -> NDArray[np.bool_]:
    """One device a customer and day, without drawing: a hash of both against the customer's habit."""
    mixed = (lines.owner * 7_919 + lines.second // 86_400 * 104_729) % 1_000
    return mixed / 1_000 < labels.app_share[lines.owner]


def _gather(values: pl.Series, index: Ints) -> pl.Series:
    return values.gather(pl.Series(index).replace(NONE, None))


def _known(column: str) -> pl.Expr:
    return pl.when(pl.col(column) != NONE).then(pl.col(column))
