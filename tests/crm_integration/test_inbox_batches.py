"""Messages that are stored together come to the same as one at a time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from django.db import connection as database
from django.db import transaction
from django.test.utils import CaptureQueriesContext

from crm_integration import inbox, inbox_batches
from crm_integration.models import InboundMessage
from segmentation import contacts
from segmentation.models import AttributeValue, Consent, Customer, Event, Shop
from tests.crm_integration.fixtures import order

pytestmark = pytest.mark.django_db
BEGIN = datetime(2025, 3, 1, 12, tzinfo=UTC)


def receive(connection, content, number):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    at = BEGIN + timedelta(seconds=number)
    inbox.receive(connection, dedupe_key=f"msg_{number:03}", body=body, received_at=at)


def hostile(random, number):
    """Few people, as guests and as themselves, with profiles that change and facts that are told twice."""
    person = f"c-{random.randrange(5)}"
    addresses = [f"{person}@example.com", f"{person}@EXAMPLE.com", f"new-{person}@example.com"]
    profile = {
        "reference": person,
        "email": random.choice(["", *addresses]),
        "country": random.choice(["", "FR", "GB"]),
        "channel": random.choice(["", "shop", "app"]),
        "attributes": random.choice([{}, {"size": "L"}, {"size": "M", "points": random.randrange(9)}]),
        "consents": random.choice(
            [[], [{"purpose": "marketing", "status": random.choice(["granted", "denied"])}]]
        ),
    }
    who = random.choice(
        [
            {"customer": person},
            {"customer": person, "email": f"till-{person}@example.com"},
            {"customer": profile},
            {"customer": profile},
            {"customer": None, "email": random.choice(addresses)},
        ]
    )
    at = BEGIN - timedelta(hours=1) + timedelta(seconds=number)
    told = {"channel": random.choice(["", "pos"]), "currency": random.choice(["GBP", "GBP", "XXX"]), "at": at}
    return order(f"o-{random.randrange(20)}", **who, **told)


def stored():
    """Everything that the messages led to, without the ids of rows."""
    people = Customer.objects.order_by("reference")
    names = dict(people.values_list("pk", "reference"))
    return {
        "people": [
            (row.reference, row.country, row.channel, names.get(row.merged_into_id), contacts.read(row))
            for row in people
        ],
        "consents": sorted(Consent.objects.values_list("customer__reference", "purpose", "status", "decided_at")),
        "attributes": sorted(
            (row.customer.reference, row.definition.slug, str(row.number or row.text), row.valid_from)
            for row in AttributeValue.objects.select_related("customer", "definition")
        ),
        "events": sorted(Event.objects.values_list("customer__reference", "source_key", "amount_minor")),
        "messages": [
            (row.dedupe_key, row.outcome, row.events_created, row.detail["rejections"],
             sorted(names[key] for key in row.detail["customer_ids"]))
            for row in InboundMessage.objects.order_by("dedupe_key")
        ],
    }  # fmt: skip


def of(connection, messages, *, together, monkeypatch):
    with transaction.atomic(), monkeypatch.context() as patched:
        if not together:
            patched.setattr(inbox, "BATCH", 1)
        for number, content in enumerate(messages):
            receive(connection, content, number)
        inbox.process_due()
        found = stored()
        transaction.set_rollback(True)
    return found


@pytest.mark.parametrize("joins_guests", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_profiles_and_events_together_come_to_the_same_as_one_at_a_time(
    connection, shop, monkeypatch, seed, joins_guests
):
    Shop.objects.update(join_guests_by_email=joins_guests)
    random = Random(seed)
    messages = [hostile(random, number) for number in range(24)]
    alone = of(connection, messages, together=False, monkeypatch=monkeypatch)
    together = of(connection, messages, together=True, monkeypatch=monkeypatch)
    assert alone["people"]
    assert together == alone


def test_orders_with_profiles_are_stored_together(connection, shop, monkeypatch):
    parts = []
    record = inbox_batches.record
    monkeypatch.setattr(inbox_batches, "record", lambda part: parts.append(part) or record(part))
    for number in range(30):
        profile = {"reference": f"c-{number}", "email": f"c-{number}@example.com", "country": "FR"}
        receive(connection, order(f"o-{number}", customer=profile, at=BEGIN), number)
    with CaptureQueriesContext(database) as asked:
        assert inbox.process_due() == 30
    assert [len(part.plain) for part in parts] == [30]
    assert len(asked) < 70
    assert Customer.objects.filter(country="FR").count() == 30
    assert set(InboundMessage.objects.values_list("outcome", "events_created")) == {("recorded", 1)}


def test_a_profile_of_somebody_whom_an_event_named_before_is_not_stored_before_it(
    connection, shop, monkeypatch
):
    parts = []
    record = inbox_batches.record
    monkeypatch.setattr(inbox_batches, "record", lambda part: parts.append(part) or record(part))
    told = {"reference": "c-1", "country": "FR"}
    for number, content in enumerate(
        [
            order("o-1", customer="c-1"),
            order("o-2", customer="c-2"),
            order("o-3", customer=told),
            order("o-4", customer=told),
            order("o-5", customer=None, email="guest@example.com"),
            order("o-6", customer={"reference": "c-3", "email": "guest@example.com"}),
        ]
    ):
        receive(connection, content, number)
    inbox.process_due()
    assert [len(part.messages) for part in parts] == [2, 3, 1]
