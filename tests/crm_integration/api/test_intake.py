"""Events and customers in: one format with the webhooks, the same inbox, and an answer for each item."""

from __future__ import annotations

import orjson
import pytest
from django.test import override_settings

from crm_integration import inbox
from crm_integration.models import Connection, InboundMessage
from segmentation.jobs import Job
from segmentation.models import Alert, Consent, Customer, Event
from tests.crm_integration.api import world
from tests.crm_integration.fixtures import deliver, envelope, order

pytestmark = pytest.mark.django_db(transaction=True)


def batch(*events):
    return {"type": "events.batch", "data": {"events": list(events)}}


def statuses(answer):
    return [result["status"] for result in answer.json()["results"]]


def test_an_event_is_a_row_and_a_nudge_and_then_a_fact(api, nudges):
    answer = api.post("/api/events/", order("o-1", "c-1"))
    assert answer.status_code == 202
    told = answer.json()
    assert (told["accepted"], told["duplicates"], told["refused"]) == (1, 0, 0)
    message = InboundMessage.objects.get()
    assert message.pk == told["message"]
    assert nudges == [(Job.PROCESS_INBOUND, {})]
    inbox.process(message.pk)
    assert Event.objects.get().customer.reference == "c-1"
    came = api.get(f"/api/messages/{message.pk}/").json()
    assert (came["state"], came["outcome"], came["events_created"]) == ("done", "recorded", 1)


def test_the_door_takes_what_the_webhook_takes_and_both_know_the_same_facts(api):
    rest = Connection.objects.get(slug="rest")
    inbox.process(deliver(api.client, rest, order("o-1")).json()["id"])
    assert statuses(api.post("/api/events/", order("o-1"))) == ["duplicate"]
    assert statuses(api.post("/api/events/", order("o-2"))) == ["accepted"]


def test_a_shop_of_ones_own_tells_of_merges_and_deletions(api):
    kept, gone, leaving = (Customer.objects.create(reference=name) for name in ("C-1", "C-2", "C-3"))
    merge = envelope("customer.merged", kept="C-1", gone=["C-2"])
    answer = api.post("/api/events/", batch(merge, envelope("customer.deleted", reference="C-3")))
    assert statuses(answer) == ["accepted", "accepted"]
    inbox.process(answer.json()["message"])
    gone.refresh_from_db()
    assert gone.merged_into == kept
    assert leaving.reference in Alert.objects.get().message
    assert Customer.objects.filter(pk=leaving.pk).exists()


def test_each_item_of_a_batch_is_told_apart(api):
    inbox.process(api.post("/api/events/", order("known")).json()["message"])
    answer = api.post(
        "/api/events/",
        batch(
            order("new"),
            order("known"),
            order("new"),
            order("dear", amount="-1"),
            {"type": "order.placed", "data": {}},
            order("late", at=None) | {"timestamp": "2999-01-01T00:00:00Z"},
            order("foreign", currency="XTS"),
            {"type": "no.such"},
            envelope("customer.updated", reference="c-9"),
            envelope("product.viewed", customer="c-1", product="p-1"),
        ),
    )
    assert answer.status_code == 202
    assert statuses(answer) == [
        "accepted", "duplicate", "duplicate", "refused", "refused", "refused", "refused", "refused", "accepted",
        "accepted",
    ]  # fmt: skip
    told = answer.json()
    assert (told["accepted"], told["duplicates"], told["refused"]) == (3, 2, 5)
    assert all(result["reason"] for result in told["results"] if result["status"] == "refused")
    inbox.process(told["message"])
    found = api.get(f"/api/messages/{told['message']}/").json()
    refused = [result["item"] for result in told["results"] if result["status"] == "refused"]
    assert [rejection["item"] for rejection in found["rejections"]] == refused
    assert set(Event.objects.values_list("source_key", flat=True)) >= {"known", "new"}


def test_a_thousand_at_once_and_not_one_more(api, django_assert_max_num_queries):
    many = [
        envelope("product.viewed", customer="c-1", product="p", id=f"v{number}") for number in range(1001)
    ]
    with django_assert_max_num_queries(15):
        answer = api.post("/api/events/", batch(*many[:1000]))
    assert answer.json()["accepted"] == 1000
    refused = api.post("/api/events/", batch(*many))
    assert refused.status_code == 400
    assert "1000" in refused.json()["detail"]


def test_what_is_wholly_refused_is_not_stored(api):
    one = api.post("/api/events/", order("o", amount="-1"))
    assert (one.status_code, one.json()["type"]) == (422, "urn:tierwise:problem:unprocessable")
    assert one.json()["detail"] == one.json()["results"][0]["reason"]
    all_bad = api.post("/api/events/", batch(order("o", amount="-1"), {"type": "no.such"}))
    assert [result["item"] for result in all_bad.json()["results"]] == [0, 1]
    assert not InboundMessage.objects.exists()


def test_the_same_body_again_is_the_same_message(api):
    body = batch(envelope("product.viewed", customer="c-1", product="p-1"))
    first, second = api.post("/api/events/", body), api.post("/api/events/", body)
    assert first.json()["message"] == second.json()["message"]
    assert (statuses(first), statuses(second)) == (["accepted"], ["duplicate"])
    assert InboundMessage.objects.count() == 1


def test_customers_and_consent_have_a_door_of_their_own(api):
    answer = api.post(
        "/api/customers/",
        batch(
            envelope("customer.created", reference="c-1", country="GB"),
            envelope("consent.changed", customer="c-1", purpose="marketing", status="granted"),
        ),
    )
    assert statuses(answer) == ["accepted", "accepted"]
    inbox.process(answer.json()["message"])
    assert Customer.objects.get().country == "GB"
    assert Consent.objects.get().status == "granted"


def test_a_token_for_customers_cannot_slip_events_in(client):
    api = world.Api(client, world.token(["customers:write"]))
    smuggled = batch(envelope("customer.updated", reference="c-1"), order("o-1"))
    for body in (smuggled, order("o-1"), batch({"type": ["customer.updated"]})):
        answer = api.post("/api/customers/", body)
        assert answer.status_code == 422
        assert {result["status"] for result in answer.json()["results"]} == {"refused"}
    assert not InboundMessage.objects.exists()


@pytest.mark.parametrize("change", [{"is_active": False}, {"accepts_inbound": False}, {"adapter": "another"}])
def test_a_connection_that_is_off_takes_nothing(api, change):
    Connection.objects.update(**change)
    assert api.post("/api/events/", order()).status_code == 403
    assert not InboundMessage.objects.exists()


def test_a_message_of_another_connection_is_not_shown(api, connection):
    inbox.process(deliver(api.client, connection, order()).json()["id"])
    assert api.get(f"/api/messages/{InboundMessage.objects.get().pk}/").status_code == 404


DEEP = b'{"type":' + b"[" * 5000 + b"]" * 5000 + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"1", b'"x"', DEEP, b"[" * 200_000, b'{"a": NaN}', b'{"a": Infinity}',
        b'{"a": 1e999}', b'{"a": ' + b"9" * 5000 + b"}", b'{"a": "\\ud800"}', b"\xff\xfe", b"{}", b'{"type": 1}',
        b'{"type": "events.batch"}', b'{"type": "events.batch", "data": {"events": []}}',
        b'{"type": "events.batch", "data": {"events": [1]}}', b'{"type": "events.batch", "data": []}',
    ],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api/events/", "/api/customers/"])
def test_hostile_bodies_are_refused_and_not_stored(api, path, body):
    answer = api.post(path, body)
    assert answer.status_code in {400, 422}, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert not InboundMessage.objects.exists()


@override_settings(INBOUND_MAX_BYTES=1000)
def test_a_body_over_the_limit_is_refused(api):
    answer = api.post("/api/events/", orjson.dumps({"type": "ping", "x": "y" * 1000}))
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:tierwise:problem:too_large")


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "multipart/form-data; boundary=x"])
def test_only_json_is_taken(api, content_type):
    answer = api.post("/api/events/", b"{}", content_type=content_type)
    assert (answer.status_code, answer["Content-Type"]) == (415, "application/problem+json")


def test_nothing_that_was_sent_is_repeated_in_a_refusal(api):
    body = order("o-1", email="eva@example.com" * 30)
    answer = api.post("/api/events/", body)
    assert answer.status_code == 422
    assert "eva@" not in answer.content.decode()
