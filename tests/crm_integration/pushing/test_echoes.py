"""Our own writes come back through the door: counted, shown, and nobody is scored for them. A real change still counts."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from crm_integration import inbox
from crm_integration.models import EchoCount, InboundMessage, PushedRecord
from segmentation import consents
from segmentation.models import Consent, Customer, DueCustomer, Event, ExchangeRate
from segmentation.normal import NormalConsent
from tests.crm_integration.adapters import signing
from tests.crm_integration.adapters.signing import content
from tests.crm_integration.pushing.helpers import decide, people

pytestmark = pytest.mark.django_db


@pytest.fixture
def pushed(kind, crm_api, row):
    """A customer whom the CRM has told us about, and to whose record we then wrote; nobody is due."""
    (one,) = people(kind, crm_api, 1, tier="high")
    return one


def tell(client, kind, crm_api, one, *, number=1, **changes):
    """The message that a change causes, posted to the door and worked through."""
    at = timezone.now() + timedelta(seconds=number)
    headers, body = kind.message(crm_api, kind.reference(one, 101), at=at, number=number, **changes)
    answer = client.post("/hooks/crm/", data=body, content_type="application/json", headers=headers)
    assert answer.status_code == 202, answer.content
    inbox.process(answer.json()["id"])
    return InboundMessage.objects.get(pk=answer.json()["id"])


def told_in_another_currency(client, reference):
    """An order of a customer whom we wrote to, in a currency without a rate."""
    order = {**content("woocommerce/order_processing"), "customer_id": int(reference), "currency": "SEK"}
    body = json.dumps(order).encode()
    headers = signing.woocommerce("its-own-secret", body, topic="order.updated")
    answer = client.post("/hooks/crm/", data=body, content_type="application/json", headers=headers)
    inbox.process(answer.json()["id"])
    return InboundMessage.objects.get(pk=answer.json()["id"])


def version(one):
    return Customer.objects.values_list("input_version", flat=True).get(pk=one.pk)


def real_change(kind):
    return {
        "hubspot": {"firstname": "Grace"},
        "mautic": {"firstname": "Grace"},
        "espocrm": {"firstName": "Grace"},
    }.get(kind.slug, {"first_name": "Grace"})


def test_our_own_write_told_back_starts_no_scoring(client, kind, crm_api, row, pushed):
    if kind.slug != "segment":
        tell(client, kind, crm_api, pushed, number=1)  # what the CRM knew before
    decide(pushed)
    before = version(pushed)
    DueCustomer.objects.all().delete()
    asked = len(crm_api.asked)
    for number in (2, 3):
        message = tell(client, kind, crm_api, pushed, number=number)
        # Segment tells the same event again: it is known already, and not even looked at.
        assert message.outcome == "echo"
    assert version(pushed) == before
    assert not DueCustomer.objects.exists()
    assert len(crm_api.asked) == asked, "nothing is fetched for an echo"
    assert EchoCount.objects.get().count >= 1


def test_a_first_message_after_a_write_is_an_echo_where_it_tells_nothing_new(
    client, kind, crm_api, row, pushed
):
    """The CRM never told us about the customer before we wrote: what it tells of them is news, then it is not."""
    decide(pushed)
    tell(client, kind, crm_api, pushed, number=1)
    before = version(pushed)
    message = tell(client, kind, crm_api, pushed, number=2)
    assert message.outcome == "echo"
    assert version(pushed) == before


def test_a_real_change_that_comes_with_an_echo_is_not_lost(client, kind, crm_api, row, pushed):
    tell(client, kind, crm_api, pushed, number=1) if kind.slug != "segment" else None
    decide(pushed)
    before = version(pushed)
    message = tell(client, kind, crm_api, pushed, number=2, **real_change(kind))
    assert message.outcome == "recorded"
    assert version(pushed) > before
    from segmentation.models import ContactData

    assert ContactData.objects.filter(customer=pushed).exists()


def test_somebody_who_edits_our_field_there_starts_no_scoring_either(client, kind, crm_api, row, pushed):
    if kind.slug == "segment":
        pytest.skip("traits come back only as events")
    tell(client, kind, crm_api, pushed, number=1)
    decide(pushed)
    before = version(pushed)
    kind.edit(crm_api, kind.reference(pushed, 101), "tier", "platinum")
    message = tell(client, kind, crm_api, pushed, number=2)
    assert message.outcome in {"echo", "nothing_new"}
    assert version(pushed) == before


def test_without_a_write_the_same_message_is_no_echo(client, kind, crm_api, row, pushed):
    if kind.slug == "segment":
        pytest.skip("there is nothing to tell")
    for number in (1, 2):
        message = tell(client, kind, crm_api, pushed, number=number)
    assert message.outcome == "nothing_new"
    assert not EchoCount.objects.exists()


def test_an_old_write_explains_no_message(client, kind, crm_api, row, pushed):
    if kind.slug == "segment":
        pytest.skip("its own mark says whose it is, whenever it comes")
    decide(pushed)
    tell(client, kind, crm_api, pushed, number=1)
    PushedRecord.objects.update(written_at=timezone.now() - timedelta(days=3))
    tell(client, kind, crm_api, pushed, number=2)
    assert tell(client, kind, crm_api, pushed, number=3).outcome == "nothing_new"


def test_who_goes_back_to_what_was_seen_before_an_old_write_is_no_echo(client, kind, crm_api, row, pushed):
    """Ada becomes Grace long after a write, which causes a write, and is Ada again: all three count."""
    if kind.slug == "segment":
        pytest.skip("its own mark says whose it is, whenever it comes")
    (name,) = real_change(kind)
    decide(pushed)
    tell(client, kind, crm_api, pushed, number=1, **{name: "Ada"})
    PushedRecord.objects.update(written_at=timezone.now() - timedelta(days=3))
    assert tell(client, kind, crm_api, pushed, number=2, **{name: "Grace"}).outcome == "recorded"
    PushedRecord.objects.update(written_at=timezone.now())
    assert tell(client, kind, crm_api, pushed, number=3, **{name: "Ada"}).outcome == "recorded"


def test_what_was_rejected_is_no_echo_when_it_is_processed_again(client, row, pushed, kind, crm_api):
    if kind.slug != "woocommerce":
        pytest.skip("the reading is the same for every kind")
    tell(client, kind, crm_api, pushed, number=1)
    decide(pushed)
    rejected = told_in_another_currency(client, kind.reference(pushed, 101))
    assert rejected.outcome in {"rejected", "partly"}
    order = content("woocommerce/order_processing")
    for name in ("date_created_gmt", "date_paid_gmt", "date_modified_gmt"):
        day = datetime.fromisoformat(order[name]).date()
        ExchangeRate.objects.get_or_create(currency="SEK", day=day, defaults={"rate": "0.1"})
    inbox.replay(rejected)
    inbox.process(rejected.pk)
    assert Event.objects.filter(currency="SEK").exists()


@pytest.mark.parametrize("seen_before", [True, False])
def test_a_refusal_that_only_bears_the_time_of_our_write_is_no_new_answer(
    client, kind, crm_api, row, pushed, seen_before
):
    """HubSpot and Mautic tell when a contact last changed, not when they refused: our write moves that time."""
    if kind.slug not in {"hubspot", "mautic"}:
        pytest.skip("the others tell the time of the answer, or none")
    if kind.slug == "hubspot":
        crm_api.people["101"]["hs_email_optout"] = "true"
        changes = {"city": "London"}  # makes us fetch the record
    else:
        crm_api.people[101]["dnc"] = [{"channel": "email", "reason": 1}]
        changes = {}
    if seen_before:
        tell(client, kind, crm_api, pushed, number=1, **changes)
    else:
        consents.record(
            {pushed.pk: [NormalConsent("marketing", "denied", timezone.now() - timedelta(days=9))]},
            source="crm",
        )
        tell(client, kind, crm_api, pushed, number=1, **changes)
        Consent.objects.filter(decided_at__gt=timezone.now() - timedelta(days=1)).delete()
    decide(pushed)
    before, answers = version(pushed), Consent.objects.count()
    message = tell(client, kind, crm_api, pushed, number=2, **changes)
    assert message.outcome == "echo"
    assert (version(pushed), Consent.objects.count()) == (before, answers)
