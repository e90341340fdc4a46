"""An events frame cut into streams of integer facts: orders, returns, browsing, carts, service and offers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from segmentation.features.days import day_number, local_days
from segmentation.features.orders import counted_orders
from segmentation.features.streams import DAY_BITS, Stream
from segmentation.kinds import EventKind

# A cart is abandoned when no order follows on its day or the days after, once those are over.
CART_GRACE_DAYS = 3
LOW_RATING = 2.0
RATING_POINTS = 100
SENTIMENT_POINTS = 100
# A text below this sounds unhappy.
UNHAPPY = -0.25
TOPIC_NUMBERS = (1, 2, 3, 4, 5, 6)
MIDDLE_RATING = 3.0
BROWSING = (
    EventKind.VIEWED,
    EventKind.CART_ADDED,
    EventKind.CART_REMOVED,
    EventKind.FAVOURITED,
    EventKind.SEARCHED,
)
SERVICE = (
    EventKind.REVIEWED,
    EventKind.TICKET_OPENED,
    EventKind.TICKET_CLOSED,
    EventKind.COMPLAINED,
    EventKind.OFFER_SENT,
    EventKind.OFFER_REDEEMED,
)

# What may come with a customer's own words.
SPOKEN = (EventKind.REVIEWED, EventKind.TICKET_OPENED, EventKind.TICKET_CLOSED, EventKind.COMPLAINED)

IS_BROWSING, IS_SERVICE, IS_SPOKEN = (
    np.isin(np.arange(max(EventKind) + 1), kinds) for kinds in (BROWSING, SERVICE, SPOKEN)
)


class Rows:
    """Columns of a frame as arrays (integers as int64), at some of its rows; taken when asked for."""

    def __init__(self, frame: pl.DataFrame, index: np.ndarray | None = None) -> None:
        self._frame, self._index = frame, index
        self._taken: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._taken:
            column = self._frame[name]
            values = (
                column.to_numpy()
                if column.dtype.is_float()
                else column.to_numpy().astype(np.int64, copy=False)
            )
            self._taken[name] = values if self._index is None else values[self._index]
        return self._taken[name]

    def where(self, mask: np.ndarray) -> Rows:
        """The rows of the frame where the mask holds."""
        return Rows(self._frame, np.flatnonzero(mask))


def streams(events: pl.DataFrame, *, customers: pl.Series, as_of: date, zone: ZoneInfo) -> dict[str, Stream]:
    """Streams by name, of the facts before `as_of` of the given customers, which are sorted ids."""
    ids, today = customers.to_numpy(), day_number(as_of)
    known = _known(events, ids=ids, today=today, zone=zone)
    orders, others = Rows(counted_orders(known)), Rows(known)
    kind = others["kind"]

    def build(rows: Rows, columns: Callable[[Rows], dict[str, np.ndarray]]) -> Stream:
        return Stream(len(ids), today, rows["position"], rows["day"], columns(rows))

    built = {"orders": build(orders, _order_columns)}
    built["returns"] = build(others.where(kind == EventKind.REFUNDED), _return_columns)
    built["browsing"] = build(others.where(IS_BROWSING[kind]), _browsing_columns)
    carts = others.where(kind == EventKind.CART_ADDED)
    built["carts"] = build(carts, lambda rows: _cart_columns(rows, orders=built["orders"]))
    built["service"] = build(others.where(IS_SERVICE[kind]), _service_columns)
    built["any"] = build(others, lambda rows: {"any_day": rows["day"]})
    return built


def known_events(events: pl.DataFrame, *, ids: np.ndarray, as_of: date, zone: ZoneInfo) -> pl.DataFrame:
    """Events of these customers (sorted ids) before the day, with the customer's position and the local day."""
    return _known(events, ids=ids, today=day_number(as_of), zone=zone)


def _known(events: pl.DataFrame, *, ids: np.ndarray, today: int, zone: ZoneInfo) -> pl.DataFrame:
    """Events of these customers before today, with the customer's position and the local day."""
    instants = events["occurred_at"].dt.timestamp("us").to_numpy()
    day = local_days(instants, zone)
    position, ours = _positions(events["customer_id"].to_numpy(), ids)
    keep = ours & (day < today)
    key = (position[keep] << DAY_BITS) + day[keep]
    if (key[1:] < key[:-1]).any():
        raise ValueError("Events must be sorted by customer and time.")
    frame = events.with_columns(pl.Series("position", position), pl.Series("day", day))
    return frame if keep.all() else frame.filter(pl.Series(keep))


def _positions(customer: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each event's customer stands among the sorted ids, and whether it is there at all."""
    new = np.ones(len(customer), dtype=bool)
    new[1:] = customer[1:] != customer[:-1]
    starts = np.flatnonzero(new)
    lengths = np.diff(np.append(starts, len(customer)))
    runs = customer[starts]
    place = np.searchsorted(ids, runs)
    inside = place < len(ids)
    inside[inside] = ids[place[inside]] == runs[inside]
    return np.repeat(place, lengths), np.repeat(inside, lengths)


def _new_day(rows: Rows) -> np.ndarray:
    """1 on the first row of each customer's day."""
    position, day = rows["position"], rows["day"]
    new = np.ones(len(day), dtype=np.int64)
    new[1:] = (position[1:] != position[:-1]) | (day[1:] != day[:-1])
    return new


def _gaps(rows: Rows) -> np.ndarray:
    """Days since the customer's order day before, on the first row of an order day; else 0."""
    position, day = rows["position"], rows["day"]
    gaps = np.zeros(len(day), dtype=np.int64)
    gaps[1:] = np.where(position[1:] == position[:-1], day[1:] - day[:-1], 0)
    return gaps


def _order_columns(rows: Rows) -> dict[str, np.ndarray]:
    gaps, new_day = _gaps(rows), _new_day(rows)
    # The last known gap, carried to later orders of the same day.
    position = np.maximum.accumulate(np.where(new_day == 1, np.arange(len(gaps)), 0))
    return {
        "orders": np.ones_like(new_day),
        "order_days": new_day,
        "order_day": rows["day"],
        "spent": rows["amount_minor"],
        "discount": rows["discount_minor"],
        "discounted": (rows["discount_minor"] > 0).astype(np.int64),
        "units": rows["quantity"],
        "lines": rows["line_count"],
        "bought": rows["category_mask"],
        "gaps": (gaps > 0).astype(np.int64),
        "gap_days": gaps,
        "gap_squares": gaps * gaps,
        "gap": gaps[position] if len(gaps) else gaps,
    }


def _return_columns(rows: Rows) -> dict[str, np.ndarray]:
    return {
        "returns": np.ones_like(rows["day"]),
        "return_day": rows["day"],
        "returned": np.abs(rows["amount_minor"]),
    }


def _browsing_columns(rows: Rows) -> dict[str, np.ndarray]:
    kind = rows["kind"]
    views = (kind == EventKind.VIEWED).astype(np.int64)
    return {
        "views": views,
        "searches": (kind == EventKind.SEARCHED).astype(np.int64),
        "carts": (kind == EventKind.CART_ADDED).astype(np.int64),
        "favourites": (kind == EventKind.FAVOURITED).astype(np.int64),
        "visits": _new_day(rows),
        "visit_day": rows["day"],
        "seen": np.where(views == 1, rows["category_mask"], 0),
    }


def _cart_columns(rows: Rows, *, orders: Stream) -> dict[str, np.ndarray]:
    """Carts of a day count as one. `cart_open` is 1 while no order has followed."""
    position, day = rows["position"], rows["day"]
    order_key = (orders.position << DAY_BITS) + orders.day
    following = np.searchsorted(order_key, (position << DAY_BITS) + day)
    limit = (position << DAY_BITS) + day + CART_GRACE_DAYS
    key = np.append(order_key, np.iinfo(np.int64).max)[following]
    over = day + CART_GRACE_DAYS < orders.as_of_day
    new_day = _new_day(rows)
    return {
        "abandoned": ((key > limit) & over & (new_day == 1)).astype(np.int64),
        "cart_day": day,
        "cart_open": (key >> DAY_BITS != position).astype(np.int64),
    }


def _service_columns(rows: Rows) -> dict[str, np.ndarray]:
    kind = rows["kind"]
    review = kind == EventKind.REVIEWED
    rated = review & ~np.isnan(rows["rating"])
    rating = np.where(rated, rows["rating"], 0.0)
    points = np.rint(rating * RATING_POINTS).astype(np.int64)
    counts = {
        "tickets": EventKind.TICKET_OPENED,
        "closed": EventKind.TICKET_CLOSED,
        "complaints": EventKind.COMPLAINED,
        "offers_sent": EventKind.OFFER_SENT,
        "offers_used": EventKind.OFFER_REDEEMED,
    }
    return {
        "reviews": review.astype(np.int64),
        "ratings": rated.astype(np.int64),
        "points": points,
        "low_ratings": (rated & (rating <= LOW_RATING)).astype(np.int64),
        **{name: (kind == wanted).astype(np.int64) for name, wanted in counts.items()},
        **_text_columns(rows, rated=rated, rating=rating),
    }


def _text_columns(rows: Rows, *, rated: np.ndarray, rating: np.ndarray) -> dict[str, np.ndarray]:
    """What was read in the texts; a rating of 1 to 5 is set beside a sentiment of -1 to 1."""
    topic, known = rows["topic"], ~np.isnan(rows["sentiment"])
    sentiment = np.where(known, rows["sentiment"], 0.0)
    compared = rated & known
    distance = np.where(compared, np.abs((rating - MIDDLE_RATING) / 2.0 - sentiment), 0.0)
    return {
        "texts_read": (known | (topic > 0)).astype(np.int64),
        "sentiments": known.astype(np.int64),
        "sentiment_points": np.rint(sentiment * SENTIMENT_POINTS).astype(np.int64),
        "negatives": (known & (sentiment < UNHAPPY)).astype(np.int64),
        "repeated": (rows["repeats"] > 0).astype(np.int64),
        "compared": compared.astype(np.int64),
        "contradictions": np.rint(distance * SENTIMENT_POINTS).astype(np.int64),
        **{f"topic_{number}": (topic == number).astype(np.int64) for number in TOPIC_NUMBERS},
    }
