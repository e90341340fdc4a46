"""What goes and what stays when a shop says how long events are kept."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from segmentation import event_retention
from segmentation.kinds import EventKind
from segmentation.models import Customer, Event, EventItem, EventSource, EventText, Offer, Product, Redemption

pytestmark = pytest.mark.django_db


@pytest.fixture
def add(db, shop):
    source = EventSource.objects.create(slug="test")
    product = Product.objects.create(external_id="P")
    now = timezone.now()

    def call(customer, kind, days_ago, **fields):
        at = now - timedelta(days=days_ago)
        event = Event.objects.create(
            customer=customer, kind=kind, occurred_at=at, received_at=at, source=source,
            source_key=f"{customer.pk}-{kind}-{days_ago}", **fields,
        )  # fmt: skip
        EventItem.objects.create(event=event, product=product)
        EventText.objects.create(event=event, sealed=b"words")
        return event

    return call


@pytest.fixture
def customer(db):
    return Customer.objects.create(reference="C")


def prune(**days):
    return sum(
        part.events for part in event_retention.prune_events(**({"event_days": 0, "order_days": 0} | days))
    )


def kept():
    """Ids of the events; lines and texts must be those of the same events."""
    events = set(Event.objects.values_list("pk", flat=True))
    assert set(EventItem.objects.values_list("event_id", flat=True)) == events
    assert set(EventText.objects.values_list("event_id", flat=True)) == events
    return events


def test_events_are_kept_for_good_unless_a_period_is_set(add, customer):
    event = add(customer, EventKind.VIEWED, 5000)

    assert prune() == 0
    assert kept() == {event.pk}


def test_old_behaviour_goes_with_lines_and_words_and_orders_stay(add, customer):
    add(customer, EventKind.VIEWED, 801)
    add(customer, EventKind.REVIEWED, 900)
    stay = [
        add(customer, EventKind.VIEWED, 799),
        add(customer, EventKind.ORDER_PLACED, 3000),
        add(customer, EventKind.REFUNDED, 2900),
    ]

    assert prune(event_days=800) == 2
    assert kept() == {event.pk for event in stay}


def test_versions_replaced_long_ago_go_with_behaviour_and_the_current_one_stays(add, customer):
    long_ago, lately = (timezone.now() - timedelta(days=days) for days in (900, 100))
    add(customer, EventKind.ORDER_PLACED, 950, superseded_at=long_ago)
    stay = [
        add(customer, EventKind.ORDER_PLACED, 640, source_version=1, superseded_at=lately),
        add(customer, EventKind.ORDER_PLACED, 630, source_version=2),
    ]

    assert prune(event_days=800) == 1
    assert kept() == {event.pk for event in stay}


def test_old_orders_go_only_when_asked_and_never_those_that_used_an_offer(add, customer):
    add(customer, EventKind.ORDER_PLACED, 900)
    with_offer = add(customer, EventKind.ORDER_PLACED, 901)
    offer = Offer.objects.create(code="TEN", name="Ten")
    Redemption.objects.create(
        offer=offer, customer=customer, event=with_offer, redeemed_at=with_offer.occurred_at
    )
    stay = [with_offer, add(customer, EventKind.VIEWED, 900), add(customer, EventKind.ORDER_PLACED, 799)]

    assert prune(order_days=800) == 1
    assert kept() == {event.pk for event in stay}


def test_events_of_merged_customers_go_too_and_batches_are_bounded(add, customer, monkeypatch):
    monkeypatch.setattr(event_retention, "EVENTS_AT_ONCE", 2)
    monkeypatch.setattr(event_retention, "CUSTOMERS_AT_ONCE", 1)
    merged = Customer.objects.create(reference="M", merged_into=customer)
    other = Customer.objects.create(reference="O")
    last = Customer.objects.create(reference="L", merged_into=customer)
    for who in (customer, merged, other, last):
        for days in (900, 901, 902):
            add(who, EventKind.VIEWED, days)

    parts = [part.events for part in event_retention.prune_events(event_days=800, order_days=0)]

    assert sum(parts) == 12
    assert max(parts) == 2
    assert kept() == set()


def test_a_run_that_is_cut_off_goes_on_at_the_next(add, customer, monkeypatch):
    monkeypatch.setattr(event_retention, "EVENTS_AT_ONCE", 2)
    for days in range(900, 905):
        add(customer, EventKind.VIEWED, days)

    next(event_retention.prune_events(event_days=800, order_days=0))
    assert len(kept()) == 3

    assert prune(event_days=800) == 3
    assert kept() == set()


def test_the_command_reports_and_takes_its_periods_from_the_settings(add, customer, settings, tmp_path):
    settings.VAR_DIR, settings.EVENT_DAYS = tmp_path, 800
    add(customer, EventKind.VIEWED, 900)
    out = StringIO()

    call_command("prune", stdout=out, verbosity=2)

    assert "1 events deleted" in out.getvalue()
    assert kept() == set()


@pytest.mark.parametrize(("days", "word"), [({"event_days": 90}, "760"), ({"order_days": 400}, "760")])
def test_a_period_that_takes_away_what_features_need_is_refused(
    add, customer, tmp_path, settings, days, word
):
    settings.VAR_DIR = tmp_path
    event = add(customer, EventKind.VIEWED, 3000)

    with pytest.raises(CommandError, match=word):
        call_command("prune", **days)
    assert kept() == {event.pk}
