"""How long events are kept: for good, unless the shop says otherwise. They go in short transactions, by customer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext as _

from segmentation import bulk
from segmentation.features.days import midnight
from segmentation.features.selection import IdRange, customer_chunks
from segmentation.kinds import EventKind
from segmentation.models import Customer, Event, EventCode, EventItem, EventText, Redemption, Shop
from segmentation.upkeep import Upkeep

# What somebody bought and gave back, from the first order on: features count it over the whole life of a customer.
MONEY = (EventKind.ORDER_PLACED, EventKind.ORDER_CHANGED, EventKind.ORDER_CANCELLED, EventKind.REFUNDED)
# Features look back a year at behaviour, and models learn from the year before that.
LEAST_EVENT_DAYS = 760
LEAST_ORDER_DAYS = 760
CUSTOMERS_AT_ONCE = 1000
EVENTS_AT_ONCE = 2000


class RetentionProblem(ValueError):
    """A period that would take away what features need; the message is a sentence for the operator."""


@dataclass(frozen=True)
class Deleted:
    """What one transaction deleted, of customers with ids up to `customer_id`."""

    customer_id: int
    events: int


def prune_events(*, event_days: int, order_days: int) -> Iterator[Deleted]:
    """Delete events that happened longer ago than so many days; 0 keeps them for good. Raises RetentionProblem.

    order_days is for orders and returns, event_days for everything else and for versions of any event that were
    replaced so long ago. Events that used an offer stay: its limits count them. What was deleted is gone whole, so a
    run that is cut off is simply run again.
    """
    _check("event_days", event_days, LEAST_EVENT_DAYS)
    _check("order_days", order_days, LEAST_ORDER_DAYS)
    shop = Shop.get()
    limits = [
        midnight(shop.today() - timedelta(days=days), shop.zone) if days else None
        for days in (event_days, order_days)
    ]
    old = _old(*limits)
    if old is None:
        return
    upkeep = Upkeep((Event, EventItem, EventText))
    for chunk in _customers():
        while deleted := _delete(chunk, old):
            upkeep.changed(deleted)
            yield Deleted(chunk.last, deleted)
    upkeep.end()


def _check(name: str, days: int, least: int) -> None:
    if days and days < least:
        raise RetentionProblem(
            _("%(name)s is %(days)d; features need at least %(least)d days (0 keeps events for good).")
            % {"name": name, "days": days, "least": least}
        )


def _old(events_before: datetime | None, orders_before: datetime | None) -> Q | None:
    old = Q()
    if events_before is not None:
        old |= Q(occurred_at__lt=events_before) & ~Q(kind__in=MONEY)
        old |= Q(superseded_at__lt=events_before)
    if orders_before is not None:
        old |= Q(occurred_at__lt=orders_before, kind__in=MONEY)
    return Q(old, ~Exists(Redemption.objects.filter(event=OuterRef("pk")))) if old else None


def _customers() -> Iterator[IdRange]:
    """Ranges of ids that hold every customer, merged ones too: their events are their own."""
    last = 0
    for chunk in customer_chunks(CUSTOMERS_AT_ONCE):
        yield IdRange(last + 1, chunk.last)
        last = chunk.last
    newest = Customer.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    if newest > last:
        yield IdRange(last + 1, newest)


def _delete(chunk: IdRange, old: Q) -> int:
    """Some old events of these customers with their lines and texts; returns how many, 0 when there are no more."""
    with transaction.atomic():
        of_these = Event.objects.filter(old, customer__gte=chunk.first, customer__lte=chunk.last)
        keys = [(key,) for key in of_these.values_list("pk", flat=True)[:EVENTS_AT_ONCE]]
        bulk.delete(EventItem, ("event_id",), keys)
        bulk.delete(EventText, ("event_id",), keys)
        bulk.delete(EventCode, ("event_id",), keys)
        return bulk.delete(Event, ("id",), keys)
