"""What questions about events (rules/events.py) find in an events frame: one column a question, a row a customer.

Batch, single customers, previews and refreshes all come through `columns`. Days are days of the shop, orders are those
that count (features/orders.py): the newest version, not cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from segmentation.features.days import day_number, local_days
from segmentation.features.orders import counted_orders
from segmentation.kinds import EventKind
from segmentation.rules.event_products import LINES, Compared, ProductPick, holding
from segmentation.rules.events import MEASURES, EventQuery, Measure, Picked
from segmentation.rules.operators import FieldType

NEVER: Final = np.iinfo(np.int64).min
_READ: Final = ("event_id", "amount_minor", "discount_minor", "category_mask", "rating")
_COMPARE: Final[dict[str, Callable[[np.ndarray, float], np.ndarray]]] = {
    "=": np.equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
}


@dataclass(frozen=True)
class Setting:
    """What the answers depend on besides the events. bits: category → its bit in an event's mask.

    lines: those of the events that questions about products may pick (`asks_lines`), columns of LINES.
    """

    as_of: date
    zone: ZoneInfo
    minor_per_major: int
    bits: Mapping[str, int]
    lines: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LINES))


def asks_lines(queries: Iterable[EventQuery]) -> tuple[list[int], frozenset[str] | None]:
    """Kinds of the events whose lines are asked for, and the numbers of the only products that matter, if that is said."""
    picked = [one for query in queries for one in query.every_picked if one.product is not None]
    kinds = {int(EventKind.from_slug(kind)) for one in picked for kind in one.kinds}
    if EventKind.ORDER_PLACED in kinds:
        kinds.add(int(EventKind.ORDER_CHANGED))
    ids = [one.product.ids for one in picked if one.product is not None]
    return sorted(kinds), frozenset().union(*ids) if all(ids) else None


def columns(
    queries: Iterable[EventQuery], events: pl.DataFrame, *, ids: pl.Series, setting: Setting
) -> list[pl.Series]:
    """A column for each question, in the order of `ids` (distinct); events of others and after `as_of` are left out."""
    history = _History(events, ids, setting)
    return [history.column(query).alias(query.name) for query in queries]


@dataclass(frozen=True)
class _Rows:
    """Events by customer and time: position of the customer, instant (us), day number, and `of` for the other columns."""

    position: np.ndarray
    instant: np.ndarray
    day: np.ndarray
    frame: pl.DataFrame

    def of(self, name: str) -> np.ndarray:
        return self.frame[name].to_numpy()


class _History:
    def __init__(self, events: pl.DataFrame, ids: pl.Series, setting: Setting) -> None:
        self._events, self._setting = events, setting
        self._ids = ids.to_numpy()
        self._order = np.argsort(self._ids, kind="stable")
        self._by_kinds: dict[tuple[str, ...], _Rows] = {}
        self._last: dict[Picked, np.ndarray] = {}
        self._holding: dict[ProductPick, np.ndarray] = {}

    def column(self, query: EventQuery) -> pl.Series:
        rows = self._of_kinds(query.picked.kinds)
        keep = self._fits(query.picked, rows) & self._when(query, rows)
        for follower, wanted in ((query.followed_by, True), (query.not_followed_by, False)):
            if follower is not None:
                keep &= (rows.instant < self._last_of(follower)[rows.position]) == wanted
        return self._measured(query.measure, rows, np.flatnonzero(keep))

    @cached_property
    def _known(self) -> pl.DataFrame:
        """The events before `as_of`, with their local day."""
        day = local_days(self._events["occurred_at"].dt.timestamp("us").to_numpy(), self._setting.zone)
        frame = self._events.with_columns(pl.Series("day", day))
        known = day < day_number(self._setting.as_of)
        return frame if known.all() else frame.filter(pl.Series(known))

    @cached_property
    def _orders(self) -> pl.DataFrame:
        return counted_orders(self._known)

    def _of_kinds(self, kinds: tuple[str, ...]) -> _Rows:
        if kinds not in self._by_kinds:
            self._by_kinds[kinds] = self._rows(self._read(kinds))
        return self._by_kinds[kinds]

    def _read(self, kinds: tuple[str, ...]) -> pl.DataFrame:
        others = [int(EventKind.from_slug(kind)) for kind in kinds if kind != EventKind.ORDER_PLACED.slug]
        parts = [self._orders] if len(others) < len(kinds) else []
        if others:
            parts.append(self._known.filter(pl.col("kind").is_in(others)))
        if len(parts) == 1:
            return parts[0]
        return pl.concat(parts).sort("customer_id", "occurred_at", maintain_order=True)

    def _rows(self, frame: pl.DataFrame) -> _Rows:
        ids = self._ids[self._order]
        customer = frame["customer_id"].to_numpy()
        place = np.searchsorted(ids, customer)
        ours = place < len(ids)
        ours[ours] = ids[place[ours]] == customer[ours]
        kept = frame.filter(pl.Series(ours))
        instant = kept["occurred_at"].dt.timestamp("us").to_numpy()
        return _Rows(self._order[place[ours]], instant, kept["day"].to_numpy(), kept.select(_READ))

    def _fits(self, picked: Picked, rows: _Rows) -> np.ndarray:
        """Which of the rows of its kinds it picks."""
        keep = np.ones(len(rows.day), dtype=bool)
        if picked.categories:
            wanted = np.int64(0)
            for name in picked.categories:
                wanted |= self._bit(name)
            keep &= (rows.of("category_mask") & wanted) != 0
        if picked.amount is not None:
            keep &= self._compared(
                np.abs(rows.of("amount_minor")), picked.amount, self._setting.minor_per_major
            )
        if picked.rating is not None:
            keep &= self._compared(rows.of("rating").astype(np.float64), picked.rating, 1)
        if picked.discounted is not None:
            keep &= (rows.of("discount_minor") > 0) == picked.discounted
        if picked.product is not None:
            keep &= np.isin(rows.of("event_id"), self._events_with(picked.product))
        return keep

    def _events_with(self, product: ProductPick) -> np.ndarray:
        if product not in self._holding:
            scale = self._setting.minor_per_major
            self._holding[product] = holding(product, self._setting.lines, minor_per_major=scale)
        return self._holding[product]

    def _bit(self, category: str) -> np.int64:
        bit = self._setting.bits.get(category)
        return np.int64(0) if bit is None else np.int64(1) << np.int64(bit)

    @staticmethod
    def _compared(values: np.ndarray, compared: Compared, scale: int) -> np.ndarray:
        # An amount such as 19.99 is no binary fraction: what is left of the product below a millionth is noise.
        return _COMPARE[compared.op](values, round(compared.value * scale, 6))

    def _when(self, query: EventQuery, rows: _Rows) -> np.ndarray:
        today = day_number(self._setting.as_of) - 1
        keep = np.ones(len(rows.day), dtype=bool)
        if query.within_days is not None:
            keep &= rows.day > today - query.within_days
        if query.older_than_days is not None:
            keep &= rows.day < today - query.older_than_days
        if query.first_day is not None:
            keep &= rows.day >= day_number(query.first_day)
        if query.last_day is not None:
            keep &= rows.day <= day_number(query.last_day)
        return keep

    def _last_of(self, picked: Picked) -> np.ndarray:
        """(m,) the instant of each customer's last such event; before all time without one."""
        if picked not in self._last:
            rows = self._of_kinds(picked.kinds)
            index = np.flatnonzero(self._fits(picked, rows))
            last = np.full(len(self._ids), NEVER, dtype=np.int64)
            # Rows are in the order of time, and of several writes to one place the last one stays.
            last[rows.position[index]] = rows.instant[index]
            self._last[picked] = last
        return self._last[picked]

    def _measured(self, measure: Measure, rows: _Rows, index: np.ndarray) -> pl.Series:
        """The measure of the rows at `index`, by customer."""
        position = rows.position[index]
        match measure:
            case Measure.COUNT:
                return pl.Series(np.bincount(position, minlength=len(self._ids)).astype(np.float64))
            case Measure.DAYS:
                pairs = np.unique(np.column_stack([position, rows.day[index]]), axis=0)[:, 0]
                return pl.Series(np.bincount(pairs, minlength=len(self._ids)).astype(np.float64))
            case Measure.AMOUNT:
                total = np.zeros(len(self._ids), dtype=np.int64)
                np.add.at(total, position, np.abs(rows.of("amount_minor")[index]))
                return pl.Series(total / self._setting.minor_per_major)
            case Measure.FIRST:
                return self._at_edge(position[::-1], rows.day[index][::-1]).cast(pl.Int32).cast(pl.Date)
            case Measure.LAST:
                return self._at_edge(position, rows.day[index]).cast(pl.Int32).cast(pl.Date)
            case Measure.LAST_AMOUNT:
                amounts = np.abs(rows.of("amount_minor")[index]) / self._setting.minor_per_major
                return self._at_edge(position, amounts)
            case Measure.LAST_CATEGORY:
                return self._named(self._at_edge(position, rows.of("category_mask")[index]))

    def _at_edge(self, position: np.ndarray, values: np.ndarray) -> pl.Series:
        """The last value of each customer, null without values."""
        found = np.zeros(len(self._ids), dtype=values.dtype)
        some = np.zeros(len(self._ids), dtype=bool)
        found[position] = values
        some[position] = True
        return pl.Series(found).set(pl.Series(~some), None)

    def _named(self, masks: pl.Series) -> pl.Series:
        names = {
            mask: [name for name, bit in sorted(self._setting.bits.items()) if mask >> bit & 1]
            for mask in masks.unique().drop_nulls().to_list()
        }
        values = [None if mask is None else names[mask] for mask in masks.to_list()]
        return pl.Series(values, dtype=pl.List(pl.String))


def dtype_of(query: EventQuery) -> pl.DataType:
    """The type of the question's column."""
    kinds: dict[FieldType, pl.DataType] = {
        FieldType.DATE: pl.Date(),
        FieldType.TAGS: pl.List(pl.String),
    }
    return kinds.get(MEASURES[query.measure].type, pl.Float64())
