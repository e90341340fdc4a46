"""Small event histories for feature tests: days before `AS_OF`, in London, money in pounds."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from segmentation.features.compute import compute
from segmentation.features.context_data import ContextData
from segmentation.features.frames import customers_frame, events_frame
from segmentation.kinds import EventKind

AS_OF = date(2024, 7, 1)
LONDON = ZoneInfo("Europe/London")
CONTEXT = ContextData(as_of=AS_OF, time_zone="Europe/London")


def at(days_ago: int, *, hour: int = 12, minute: int = 0) -> datetime:
    local = datetime.combine(AS_OF - timedelta(days=days_ago), time(hour, minute), tzinfo=LONDON)
    return local.astimezone(UTC)


def event(kind: EventKind, days_ago: int, *, customer: int = 1, hour: int = 12, **columns) -> dict:
    return {"customer_id": customer, "kind": int(kind), "occurred_at": at(days_ago, hour=hour)} | columns


def order(days_ago: int, pounds: float = 10.0, *, customer: int = 1, hour: int = 12, **columns) -> dict:
    columns = {"amount_minor": round(pounds * 100), "quantity": 1, "line_count": 1} | columns
    return event(EventKind.ORDER_PLACED, days_ago, customer=customer, hour=hour, **columns)


def features(*rows: dict, context: ContextData = CONTEXT, customers: pl.DataFrame | None = None) -> dict:
    """Features of customer 1 (or of the first of `customers`) by name."""
    people = customers_frame([1]) if customers is None else customers
    return compute(events_frame(list(rows)), AS_OF, context, customers=people).row(0, named=True)
