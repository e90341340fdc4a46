"""The words that catalogue expressions are written in, and what each is worth for a set of customers.

A term is a polars column whose name says what it holds: `sum:spent:90:0` is the amount of the orders of the
last 90 days. The catalogue is the only list; whatever terms its expressions name are worked out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from segmentation.features.streams import Stream

Terms = dict[str, np.ndarray]

STREAM_OF = {
    "orders": "orders order_days order_day spent discount discounted units lines bought gaps gap_days"
    " gap_squares gap",
    "returns": "returns return_day returned",
    "browsing": "views searches carts favourites visits visit_day seen",
    "carts": "abandoned cart_day cart_open",
    "service": "reviews ratings points low_ratings tickets closed complaints offers_sent offers_used"
    " texts_read sentiments sentiment_points negatives repeated compared contradictions"
    " topic_1 topic_2 topic_3 topic_4 topic_5 topic_6",
    "any": "any_day",
}
STREAM = {column: stream for stream, columns in STREAM_OF.items() for column in columns.split()}


def total(column: str, days: int | None = None, *, newest: int = 0) -> pl.Expr:
    """Sum over the last `days` days (None: ever), leaving out the newest `newest` days."""
    return pl.col(f"sum:{column}:{_window(days)}:{newest}")


def union(column: str, days: int | None = None, *, newest: int = 0) -> pl.Expr:
    """Category bits seen in the window."""
    return pl.col(f"union:{column}:{_window(days)}:{newest}")


def largest(column: str, days: int | None = None) -> pl.Expr:
    return pl.col(f"largest:{column}:{_window(days)}:0")


def first(column: str) -> pl.Expr:
    """Value of the customer's first fact; 0 without one."""
    return pl.col(f"first:{column}")


def last(column: str) -> pl.Expr:
    """Value of the customer's last fact; 0 without one."""
    return pl.col(f"last:{column}")


def last_rated() -> pl.Expr:
    """Points of the last review that has a rating; 0 without one."""
    return pl.col("last_rated:points")


def last_read() -> pl.Expr:
    """Points of the last text whose sentiment is known; 0 without one."""
    return pl.col("last_read:sentiment_points")


def given(name: str) -> pl.Expr:
    """What `compute` knows besides the events: today, the context's numbers, the customer's columns."""
    return pl.col(f"given:{name}")


def evaluate(name: str, streams: Mapping[str, Stream]) -> np.ndarray:
    """(m,) int64 value of a term for the customers of the streams."""
    operation, column, *window = name.split(":")
    stream = streams[STREAM[column]]
    if operation == "first":
        return stream.first(stream.columns[column])
    if operation == "last":
        return stream.last(stream.columns[column])
    if operation == "last_rated":
        return _last_where(stream, column, mask="ratings")
    if operation == "last_read":
        return _last_where(stream, column, mask="sentiments")
    oldest, newest = (None if part == "all" else int(part) for part in window)
    if operation == "sum":
        return stream.total(column, oldest=oldest, newest=newest or 0)
    if operation == "union":
        return stream.union(column, oldest=oldest, newest=newest or 0)
    if operation == "largest":
        return stream.largest(column, oldest=oldest)
    raise ValueError(f"no such term: {name}")


def _last_where(stream: Stream, column: str, *, mask: str) -> np.ndarray:
    """Value at each customer's last fact where `mask` is 1; 0 without one."""
    rows = np.flatnonzero(stream.columns[mask])
    count = np.searchsorted(rows, stream.edge(0))
    found = count > np.searchsorted(rows, stream.edge(None))
    result = np.zeros(stream.customers, dtype=np.int64)
    result[found] = stream.columns[column][rows[count[found] - 1]]
    return result


def _window(days: int | None) -> str:
    return "all" if days is None else str(days)
