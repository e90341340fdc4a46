"""EspoCRM's updates tell only what changed, and never when: what is needed besides is fetched."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from crm_integration import connections, inbox
from crm_integration.models import InboundMessage
from segmentation.kinds import EventKind
from segmentation.models import Consent, Customer, Event
from tests.crm_integration import fixtures
from tests.crm_integration.adapters.signing import content

pytestmark = pytest.mark.django_db
SITE, KEY = {"site": "https://espo.example.com"}, {"api_key": "key-1"}
WON = {"id": "6a01", "stage": "Closed Won"}
REFUSES = {"id": "5f1a", "emailAddressIsOptedOut": True}
SALE, PERSON = "/api/v1/Opportunity/6a01", "/api/v1/Contact/5f1a"


def processed(*records, options=SITE, credentials=KEY):
    row = fixtures.connection(adapter="espocrm")
    connections.save_settings(row, options=options, credentials=credentials)
    message = inbox.receive(
        row, dedupe_key="k", body=json.dumps(records).encode(), received_at=timezone.now()
    ).message_id
    inbox.process(message)
    return InboundMessage.objects.get(pk=message)


@pytest.fixture
def holds(vendor):
    vendor.answers |= {SALE: content("espocrm/opportunity")[0], PERSON: content("espocrm/contacts")[0]}
    return vendor


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"amount": 1200.5, "contactId": "5f1a"},
        {"amount": 1200.5, "modifiedAt": "2026-11-01 10:00:00"},
        {"contactId": "5f1a", "modifiedAt": "2026-11-01 10:00:00"},
    ],
    ids=["nothing", "no time", "no contact", "no amount"],
)
def test_a_won_opportunity_that_is_told_in_part_is_fetched(holds, told):
    message = processed({**WON, **told})
    assert (message.state, message.outcome) == ("done", "recorded")
    order = Event.objects.get()
    assert (order.kind, order.amount_minor, order.source_key) == (EventKind.ORDER_PLACED, 120050, "6a01")
    assert (order.customer.reference, order.occurred_at.day) == ("shop-espocrm:5f1a", 1)
    (asked,) = holds.asked
    assert (asked.method, asked.path, asked.headers["x-api-key"]) == ("GET", SALE, "key-1")


def test_one_that_is_told_whole_open_or_lost_is_not_fetched(holds):
    whole = content("espocrm/opportunity")[0]
    message = processed(whole, {"id": "6a02", "stage": "Closed Lost"}, {"id": "6a03", "stage": "Proposal"})
    assert (message.outcome, Event.objects.count(), holds.asked) == ("recorded", 1, [])


def test_one_that_is_told_twice_is_fetched_once(holds):
    assert processed(WON, {**WON, "amount": 7}).outcome == "recorded"
    assert (holds.paths(), Event.objects.get().amount_minor) == ([SALE], 120050)


def test_one_that_is_gone_is_no_trouble_and_spoils_nothing(holds):
    message = processed({"id": "6a09", "stage": "Closed Won"}, WON)
    assert (message.state, message.outcome) == ("done", "recorded")
    assert holds.paths() == ["/api/v1/Opportunity/6a09", SALE]


def test_one_that_is_no_longer_won_there_is_no_order(holds):
    holds.answers[SALE] = content("espocrm/opportunity")[0] | {"stage": "Negotiation"}
    assert processed(WON).outcome == "nothing_new"
    assert holds.paths() == [SALE]


def test_one_that_lacks_its_amount_there_too_is_rejected_at_its_place(holds):
    holds.answers[SALE] = content("espocrm/opportunity")[0] | {"amount": None}
    message = processed(REFUSES, WON)
    assert message.outcome == "partly"
    (rejection,) = message.detail["rejections"]
    assert rejection["reason"] == "[1].amount is missing."


@pytest.mark.parametrize(("status", "state"), [(401, "failed"), (403, "failed"), (500, "queued")])
def test_refused_credentials_stop_a_message_and_a_broken_espocrm_delays_it(holds, status, state):
    holds.answers[SALE] = (status, {}, {})
    message = processed(WON)
    assert (message.state, Event.objects.exists()) == (state, False)
    assert str(status) in message.error


@pytest.mark.parametrize(("options", "credentials"), [(SITE, {}), ({}, KEY)], ids=["no key", "no address"])
def test_without_address_or_key_staff_read_what_to_enter(holds, options, credentials):
    message = processed(REFUSES, WON, options=options, credentials=credentials)
    assert (message.state, message.outcome, holds.asked) == ("done", "partly", [])
    (rejection,) = message.detail["rejections"]
    assert (rejection["item"], "an API key" in rejection["reason"]) == (1, True)
    assert Customer.objects.get().reference == "shop-espocrm:5f1a"


@pytest.mark.parametrize("key", ["../User", "a/b", "6a01?x=1"])
def test_an_id_that_is_none_goes_into_no_address(holds, key):
    processed({**WON, "id": key}, {**REFUSES, "id": key})
    assert holds.asked == []


def test_a_refusal_without_its_time_is_fetched(holds):
    assert processed(REFUSES).outcome == "recorded"
    assert holds.paths() == [PERSON]
    consent = Consent.objects.get()
    assert (consent.status, consent.customer.reference) == ("denied", "shop-espocrm:5f1a")


def test_another_change_of_a_contact_is_not_fetched(holds):
    processed({"id": "5f1a", "firstName": "Augusta"})
    assert (Customer.objects.get().reference, holds.asked) == ("shop-espocrm:5f1a", [])
