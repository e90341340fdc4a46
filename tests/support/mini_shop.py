"""A small shop with history, built straight into the database: buyers with their own rates, lives and baskets."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from segmentation import bulk
from segmentation.kinds import EventKind
from segmentation.models import Customer, Event, EventSource, Shop

TODAY = date(2024, 3, 1)
DAYS = 540


def build(customers: int = 300, *, seed: int = 1, today: date = TODAY, days: int = DAYS) -> Shop:
    """Orders, returns and views of `customers` over `days` before `today`, which the shop takes for today."""
    shop = Shop.get()
    shop.frozen_on = today
    shop.save()
    source, _ = EventSource.objects.get_or_create(slug="mini")
    rng = np.random.default_rng(seed)
    people = Customer.objects.bulk_create(
        Customer(reference=f"M{number}", country="GB" if number % 3 else "FR", channel="web")
        for number in range(customers)
    )
    start = datetime.combine(today - timedelta(days=days), time(12), tzinfo=UTC)
    events = [event for person in people for event in _life(person, source, rng, start, days)]
    names = [field.attname for field in Event._meta.concrete_fields if field.attname != "id"]
    bulk.insert(Event, names, [tuple(getattr(event, name) for name in names) for event in events])
    return shop


def _life(person: Customer, source: EventSource, rng, start: datetime, days: int) -> list[Event]:
    """Gamma-Poisson orders until an exponential end; the basket goes with the customer."""
    rate = rng.gamma(0.8, 1 / 28)
    first = rng.uniform(0, days * 0.8)
    end = min(first + rng.exponential(days * 0.8), days)
    basket = rng.lognormal(3.5, 0.6)
    moments, moment = [first], first
    while (moment := moment + rng.exponential(1 / rate)) < end:
        moments.append(moment)
    events = []
    for number, day in enumerate(moments):
        at = start + timedelta(days=float(day))
        amount = int(basket * rng.lognormal(0, 0.3) * 100)
        events.append(
            _event(person, source, EventKind.ORDER_PLACED, at, f"{person.reference}-{number}", amount)
        )
        if rng.random() < 0.5:
            view = at - timedelta(days=1)
            events.append(_event(person, source, EventKind.VIEWED, view, f"{person.reference}-{number}-v", 0))
    return events


def _event(person, source, kind, at, key, amount) -> Event:
    return Event(
        customer=person, kind=kind, occurred_at=at, received_at=at, source=source, source_key=key,
        amount_minor=amount, quantity=1 if amount else 0, line_count=1 if amount else 0,
    )  # fmt: skip


def order(person: Customer, *, at: datetime, amount_minor: int = 5000, key: str = "extra") -> Event:
    """One more order, without telling anybody (see segmentation.due)."""
    source, _ = EventSource.objects.get_or_create(slug="mini")
    event = _event(person, source, EventKind.ORDER_PLACED, at, key, amount_minor)
    event.save()
    return event
