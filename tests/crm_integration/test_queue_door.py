"""What the queue door takes, without a broker: signatures, ids and CloudEvents."""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from crm_integration import inbox, queue_door
from crm_integration.connections import hook_url
from crm_integration.models import Connection, InboundMessage, RefusedDelivery
from crm_integration.queue_door import NotTaken
from crm_integration.signatures import Reason
from segmentation.models import Event
from tests.crm_integration import fixtures
from tests.crm_integration.adapters import signing as signing_of

pytestmark = pytest.mark.django_db
PAGE = (Path(__file__).parents[2] / "docs" / "queues.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
TIME = "2026-11-01T10:00:00Z"
DATA = {"order_id": "A-1", "customer": "C-1", "amount": "5.00"}
EVENT = {"specversion": "1.0", "id": "ev-1", "source": "/till", "type": "order.placed", "time": TIME}
STRUCTURED = "application/cloudevents+json; charset=utf-8"


@pytest.fixture
def signing(db):
    return fixtures.connection(reads_queue=True)


@pytest.fixture
def trusted(db):
    return fixtures.connection(reads_queue=True, queue_must_sign=False)


def accept(connection, body, *, headers=None, content_type="application/json", message_id=""):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    letter = queue_door.letter(raw, headers=headers, content_type=content_type, message_id=message_id)
    return queue_door.accept(connection, letter)


def signed(connection, body, **options):
    return fixtures.signed_headers(connection.inbound_secret, json.dumps(body).encode(), **options)


def reason_of(connection, body, **options):
    with pytest.raises(NotTaken) as refusal:
        accept(connection, body, **options)
    return refusal.value.reason


# --- signatures
def test_a_signed_message_is_stored_under_its_signed_id(signing):
    body = fixtures.order()
    accept(signing, body, headers=signed(signing, body, message_id="m-1"), message_id="another")
    assert InboundMessage.objects.get().dedupe_key == "m-1"


@pytest.mark.parametrize("days", [0, 29])
def test_a_signature_may_be_as_old_as_a_queue_holds_messages(signing, days):
    body = fixtures.order()
    at = timezone.now() - timedelta(days=days)
    accept(signing, body, headers=signed(signing, body, at=at))
    assert InboundMessage.objects.count() == 1


@pytest.mark.parametrize(("away", "reason"), [(-31, Reason.TOO_OLD), (1, Reason.TOO_NEW)])
def test_a_signature_too_old_or_of_the_future_is_refused_and_counted(signing, away, reason):
    body = fixtures.order()
    headers = signed(signing, body, at=timezone.now() + timedelta(days=away))
    assert reason_of(signing, body, headers=headers) is reason
    assert not InboundMessage.objects.exists()
    assert RefusedDelivery.objects.get().reason == reason.value


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_changed_header_opens_nothing(signing, name):
    body = fixtures.order()
    headers = signed(signing, body)
    headers[name] = headers[name].replace(headers[name][-2], "0" if headers[name][-2] != "0" else "1")
    reason_of(signing, body, headers=headers)
    assert not InboundMessage.objects.exists()


def test_another_connections_secret_opens_nothing(signing):
    other = fixtures.connection("other", reads_queue=True)
    body = fixtures.order()
    assert reason_of(signing, body, headers=signed(other, body)) is Reason.WRONG_SIGNATURE


def test_an_unsigned_message_is_refused_where_signatures_are_asked_for(signing):
    assert reason_of(signing, fixtures.order(), message_id="m-1") is Reason.MISSING_HEADERS


def test_headers_may_be_bytes_and_of_any_case(signing):
    body = fixtures.order()
    headers = {name.title(): value.encode() for name, value in signed(signing, body).items()}
    accept(signing, body, headers=headers)
    assert InboundMessage.objects.count() == 1


# --- ids
@pytest.mark.parametrize(
    "given",
    [
        {"message_id": "m-1"},
        {"headers": {"webhook-id": "m-1"}},
        {"headers": {"webhook-id": b"m-1"}, "message_id": "x"},
    ],
)
def test_the_id_is_the_headers_or_else_the_property(trusted, given):
    for _time in range(2):
        received = accept(trusted, {"type": "ping"}, **given)
    assert received.is_duplicate
    assert InboundMessage.objects.get().dedupe_key == "m-1"


@pytest.mark.parametrize(
    ("message_id", "reason"),
    [("", Reason.NO_MESSAGE_ID), ("x" * 201, Reason.BAD_MESSAGE_ID), ("a\x00b", Reason.BAD_MESSAGE_ID)],
)
def test_a_message_without_a_usable_id_is_refused(trusted, message_id, reason):
    assert reason_of(trusted, fixtures.order(), message_id=message_id) is reason


def test_a_known_id_with_another_body_is_refused_and_counted_once(trusted):
    accept(trusted, fixtures.order("o-1"), message_id="m-1")
    assert reason_of(trusted, fixtures.order("o-2"), message_id="m-1") is Reason.REUSED_ID
    assert RefusedDelivery.objects.get().count == 1
    assert json.loads(bytes(InboundMessage.objects.get().body))["data"]["order_id"] == "o-1"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b'"x"', b"\xff\xfe", b'{"a":' * 5000])
def test_what_is_no_json_object_is_refused(trusted, body):
    assert reason_of(trusted, body, message_id="m-1") is Reason.NOT_JSON


def test_a_body_over_the_cap_is_refused(trusted, settings):
    settings.INBOUND_MAX_BYTES = 10
    assert reason_of(trusted, fixtures.order(), message_id="m-1") is Reason.TOO_LARGE


# --- CloudEvents
def stored_event():
    return json.loads(bytes(InboundMessage.objects.get().body))


@pytest.mark.parametrize("prefix", ["ce-", "ce_", "cloudEvents:", "cloudEvents_"])
def test_a_binary_event_is_the_envelope_in_its_headers(trusted, prefix):
    accept(trusted, DATA, headers={f"{prefix}{name}": value for name, value in EVENT.items()})
    assert stored_event() == {"type": "order.placed", "timestamp": TIME, "data": DATA}
    assert InboundMessage.objects.get().dedupe_key == "ev-1"


@pytest.mark.parametrize(
    "content", [{"data": DATA}, {"data_base64": base64.b64encode(json.dumps(DATA).encode()).decode()}]
)
def test_a_structured_event_is_the_envelope_in_its_body(trusted, content):
    accept(trusted, {**EVENT, **content}, content_type=STRUCTURED)
    assert stored_event() == {"type": "order.placed", "timestamp": TIME, "data": DATA}


def test_the_same_event_in_either_mode_is_one_message(trusted):
    accept(trusted, {**EVENT, "data": DATA}, content_type=STRUCTURED)
    again = accept(trusted, DATA, headers={f"ce-{name}": value for name, value in EVENT.items()})
    assert (again.is_duplicate, again.is_reused) == (True, False)


@pytest.mark.parametrize(
    "changed",
    [
        {"specversion": "0.3"}, {"id": ""}, {"id": 7}, {"source": None}, {"type": ""}, {"time": 5},
        {"data": None}, {"data": "text"}, {"data_base64": "%%%"}, {"data_base64": 5}, {"data_base64": "WzFd"},
    ],
)  # fmt: skip
def test_half_an_event_is_refused(trusted, changed):
    body = {**EVENT, "data": DATA, **changed}
    assert reason_of(trusted, body, content_type=STRUCTURED) is Reason.BAD_CLOUD_EVENT


def test_a_batch_of_events_is_refused(trusted):
    assert (
        reason_of(trusted, [EVENT], content_type="application/cloudevents-batch+json")
        is Reason.BAD_CLOUD_EVENT
    )


def test_a_signed_event_is_known_by_its_signed_id(signing):
    body = {**EVENT, "data": DATA}
    accept(signing, body, headers=signed(signing, body, message_id="m-9"), content_type=STRUCTURED)
    assert InboundMessage.objects.get().dedupe_key == "m-9"


def test_another_kind_of_connection_gets_the_data_alone(trusted):
    Connection.objects.filter(pk=trusted.pk).update(adapter="mautic")
    trusted.refresh_from_db()
    accept(trusted, {**EVENT, "data": DATA}, content_type=STRUCTURED)
    assert stored_event() == DATA


@pytest.mark.parametrize("kind", ["standard", "svix", "hmac"])
def test_every_kind_of_the_generic_format_gets_the_envelope(trusted, kind):
    Connection.objects.filter(pk=trusted.pk).update(adapter=kind)
    trusted.refresh_from_db()
    accept(trusted, {**EVENT, "data": DATA}, content_type=STRUCTURED)
    assert stored_event() == {"type": "order.placed", "timestamp": TIME, "data": DATA}


def test_a_kind_that_is_no_longer_known_is_set_aside(trusted):
    Connection.objects.filter(pk=trusted.pk).update(adapter="another")
    trusted.refresh_from_db()
    assert reason_of(trusted, fixtures.order(), message_id="m-1") is Reason.NOT_CONFIGURED


# --- webhooks of vendors that were passed on
SIGNED_BY_VENDORS = {
    "shopify": ("shopify/orders_paid", signing_of.shopify),
    "woocommerce": ("woocommerce/order_processing", signing_of.woocommerce),
    "mautic": ("mautic/contact_updated", signing_of.mautic),
    "segment": ("segment/order_completed", signing_of.segment),
    "stripe": ("stripe/charge_succeeded", signing_of.stripe),
    "espocrm": ("espocrm/contacts", signing_of.espocrm),
}


@pytest.mark.parametrize("kind", SIGNED_BY_VENDORS)
def test_a_vendors_webhook_may_come_by_queue_with_the_vendors_signature(shop, kind):
    name, sign = SIGNED_BY_VENDORS[kind]
    row = fixtures.connection(adapter=kind, reads_queue=True)
    body = signing_of.payload(name)
    headers = sign(row.inbound_secret, body)
    received = accept(row, body, headers=headers)
    assert accept(row, body, headers=headers).is_duplicate
    inbox.process(received.message_id)
    assert InboundMessage.objects.get().outcome in {"recorded", "partly"}
    assert reason_of(row, body + b" ", headers=headers) is Reason.WRONG_SIGNATURE
    assert reason_of(row, body) is Reason.MISSING_HEADERS


def test_a_vendors_event_has_its_topic_from_the_cloud_event(shop):
    row = fixtures.connection(adapter="shopify", reads_queue=True, queue_must_sign=False)
    event = {**EVENT, "type": "orders/paid", "data": signing_of.content("shopify/orders_paid")}
    inbox.process(accept(row, event, content_type=STRUCTURED).message_id)
    message = InboundMessage.objects.get()
    assert (message.topic, message.outcome) == ("orders/paid", "recorded")


def test_a_list_of_hubspot_that_counts_its_attempts_is_one_message(shop):
    row = fixtures.connection(adapter="hubspot", reads_queue=True)
    told = signing_of.content("hubspot/contacts_changed")
    for attempt in range(2):
        body = json.dumps([{**entry, "attemptNumber": attempt} for entry in told]).encode()
        accept(row, body, headers=signing_of.hubspot(row.inbound_secret, body, url=hook_url(row)))
    assert InboundMessage.objects.count() == 1
    assert not RefusedDelivery.objects.exists()


@pytest.mark.parametrize("example", [one for one in EXAMPLES if "specversion" in one])
def test_the_documented_event_becomes_an_event_of_the_shop(trusted, shop, example):
    received = accept(trusted, example, content_type=STRUCTURED)
    inbox.process(received.message_id)
    assert InboundMessage.objects.get().outcome == "recorded"
    assert Event.objects.get().source_key == "A-1001"


# --- which queues are read
def test_only_active_connections_that_read_their_queue_are_read(trusted):
    fixtures.connection("by-web")
    fixtures.connection("resting", reads_queue=True, is_active=False)
    assert list(queue_door.reading()) == [trusted]


def test_a_connection_that_may_start_jobs_cannot_be_without_signatures(trusted):
    with pytest.raises(IntegrityError), transaction.atomic():
        Connection.objects.filter(pk=trusted.pk).update(may_start_jobs=True)
