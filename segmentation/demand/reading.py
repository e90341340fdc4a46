"""Lines of past orders for the outlook, of everybody or of a sample of customers."""

# Names in these statements come from our own models; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from django.db import connection
from django.db.models import Min

from segmentation import columns
from segmentation.columns import Field
from segmentation.features.days import day_number, local_days, midnight
from segmentation.kinds import EventKind
from segmentation.models import Customer, Event, EventItem, Shop

# Customers whose orders are read: rates of more are hardly any better, and a worker's memory is bounded.
SAMPLE: Final = 100_000
# A year for the groups of the oldest week, half a year to learn from, a year of tests.
MOST_WEEKS: Final = 130
_HASH: Final = 2654435761
_BITS: Final = 2**32
_FIELDS: Final = (
    Field("customer_id", "int8"),
    Field("event_id", "int8"),
    Field("product_id", "int8"),
    Field("occurred_at", "timestamptz"),
    Field("quantity", "int4"),
)


@dataclass(frozen=True)
class Bought:
    """(l,) each: one line of an order that stands, customers counted from 0. `not_profiled`: (n,) of the customers.

    share: of all customers that was read. weeks: whole weeks before the day, at most MOST_WEEKS.
    """

    customer: np.ndarray
    event: np.ndarray
    product: np.ndarray
    week: np.ndarray
    pieces: np.ndarray
    not_profiled: np.ndarray
    share: float
    weeks: int


def weeks_known(as_of: date, shop: Shop) -> int:
    """Whole weeks before the day since the first order, at most MOST_WEEKS."""
    first = Event.objects.filter(kind=EventKind.ORDER_PLACED).aggregate(at=Min("occurred_at"))["at"]
    if first is None:
        return 0
    return int(np.clip((as_of - first.astimezone(shop.zone).date()).days // 7, 0, MOST_WEEKS))


def read(*, as_of: date, weeks: int, shop: Shop) -> Bought:
    """Lines of the last `weeks` weeks before the day; merged customers count as one, cancelled orders not at all."""
    people = Customer.objects.filter(merged_into__isnull=True).count()
    share = min(1.0, SAMPLE / max(people, 1))
    since = as_of - timedelta(days=7 * weeks)
    lines = _lines(midnight(since, shop.zone), midnight(as_of, shop.zone), share)
    merged = dict(Customer.objects.exclude(merged_into=None).values_list("pk", "merged_into"))
    who = lines["customer_id"].replace(merged).to_numpy() if merged else lines["customer_id"].to_numpy()
    keys, customer = np.unique(who, return_inverse=True)
    days = local_days(lines["occurred_at"].dt.timestamp("us").to_numpy(), shop.zone)
    refused = np.array(
        list(Customer.objects.filter(is_profiled=False).values_list("pk", flat=True)), np.int64
    )
    return Bought(
        customer=customer,
        event=lines["event_id"].to_numpy(),
        product=lines["product_id"].to_numpy(),
        week=np.clip((days - day_number(since)) // 7, 0, weeks - 1),
        pieces=lines["quantity"].to_numpy().astype(np.float64),
        not_profiled=np.isin(keys, refused),
        share=share,
        weeks=weeks,
    )


def _lines(start: datetime, end: datetime, share: float) -> pl.DataFrame:
    item, event = (connection.ops.quote_name(model._meta.db_table) for model in (EventItem, Event))
    adapt = connection.ops.adapt_datetimefield_value
    sampled, more = (
        ("", list[int]())
        if share >= 1
        else (f"AND (e.customer_id * {_HASH}) %% {_BITS} < %s", [int(share * _BITS)])
    )
    cancelled = (
        f"SELECT p.id FROM {event} c JOIN {event} p ON p.customer_id = c.customer_id AND p.order_key = c.order_key"
        f" WHERE c.kind = %s AND c.order_key <> '' AND p.kind = %s"
    )
    source = (
        f"FROM (SELECT e.customer_id, i.event_id, i.product_id, e.occurred_at, i.quantity FROM {event} e"
        f" JOIN {item} i ON i.event_id = e.id WHERE e.kind = %s AND e.superseded_at IS NULL AND e.occurred_at >= %s"
        f" AND e.occurred_at < %s AND i.quantity > 0 {sampled} AND e.id NOT IN ({cancelled})) lines"
    )
    placed, gone = int(EventKind.ORDER_PLACED), int(EventKind.ORDER_CANCELLED)
    return columns.read(_FIELDS, source, [placed, adapt(start), adapt(end), *more, gone, placed])
