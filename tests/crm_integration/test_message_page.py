"""The page of a received message: what it says, what it caused, and why it was set aside."""

from __future__ import annotations

import json

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from crm_integration import inbox, kept_headers
from crm_integration.adapters.standard import StandardAdapter
from crm_integration.admin.effects import Effects
from crm_integration.models import InboundMessage, OutboundMessage
from segmentation.models import AuditEntry, DueCustomer
from tests.crm_integration.fixtures import decision, deliver, envelope, order, signed_headers
from tests.crm_integration.test_setup_pages import grant, html, page, person  # noqa: F401

pytestmark = pytest.mark.django_db
MESSAGE_PAGE = 24


def received(client, connection, body, **options):
    deliver(client, connection, body, **options)
    message = InboundMessage.objects.latest("pk")
    inbox.process(message.pk)
    message.refresh_from_db()
    return message


def shown(client, message):
    return html(client.get(page("inboundmessage_change", message.pk)))


def test_the_page_says_what_the_message_told_and_what_it_caused(admin_client, client, connection):
    message = received(client, connection, order("o-77", "c-1", "19.99"))
    assert message.detail["customer_ids"]
    text = shown(admin_client, message)
    for said in ("o-77", "19.99 GBP", "Ordered", "Waiting to be rescored", "1 event of it is stored"):
        assert said in text, said
    DueCustomer.objects.all().delete()
    made = decision("c-1")
    OutboundMessage.objects.create(
        connection=connection, message_id="d", topic="decision.made", body=b"{}", customer=made.customer
    )
    text = shown(admin_client, message)
    assert "New decision:" in text
    assert page("outboundmessage_change", OutboundMessage.objects.get().pk) in text


def test_an_open_page_follows_its_message(admin_client, client, connection):
    deliver(client, connection, order())
    message = InboundMessage.objects.get()
    assert "data-follow" in shown(admin_client, message)
    way = admin_client.get(page("inboundmessage_way", message.pk)).json()
    assert way["steps"][1]["state"] == "now"
    Effects(message)
    received_again = received(client, connection, b"nonsense", message_id="msg_2")
    assert "data-follow" not in shown(admin_client, received_again)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"nonsense", "Quarantined: the sender signed it"),
        (envelope("unheard.of"), "Nothing reads this topic"),
        (order(amount="a lot"), "Every item has a mistake"),
        (envelope("events.batch", events=[order(), order("o-2", amount="x")]), "Some items have a mistake"),
    ],
)
def test_what_was_set_aside_is_explained(admin_client, client, connection, body, says):
    assert says in shown(admin_client, received(client, connection, body))


def test_a_message_that_came_again_changed_nothing_and_says_so(admin_client, client, connection):
    received(client, connection, order())
    again = received(client, connection, order(), message_id="msg_2")
    assert "Everything in it was known already" in shown(admin_client, again)


def test_an_unexpected_error_says_where_and_shows_no_value(admin_client, client, connection, monkeypatch):
    def broken(self, body, **options):
        secret_of_the_customer = "ada@example.com"
        raise ValueError(secret_of_the_customer)

    monkeypatch.setattr(StandardAdapter, "parse", broken)
    message = received(client, connection, order())
    assert message.state == "queued"
    monkeypatch.undo()
    text = shown(admin_client, message)
    assert "Unexpected error: ValueError." in text
    assert " broken</code>" in text
    assert "ada@example.com" not in json.dumps(message.detail)


def test_headers_are_kept_without_what_opens_doors(admin_client, client, connection):
    body = json.dumps(order()).encode()
    sent = {
        **signed_headers(connection.inbound_secret, body),
        "authorization": "Bearer abc", "cookie": "a=b", "x-forwarded-for": "1.2.3.4", "x-api-key": "k",
        "x-real-ip": "1.2.3.4", "user-agent": "a shop" + "!" * 300, "x-topic": "orders",
    }  # fmt: skip
    deliver(client, connection, body, headers=sent)
    message = InboundMessage.objects.get()
    assert set(message.headers) == {
        "content-length", "content-type", "user-agent", "webhook-id", "webhook-timestamp", "x-topic",
    }  # fmt: skip
    assert len(message.headers["user-agent"]) == kept_headers.LONGEST
    assert "x-topic" in shown(admin_client, message)


def test_no_more_than_some_headers_are_kept():
    odd = {"": b"", "x" * 65: b"", "with space": b"", "nul\x00": b"", "ünicode": b""}
    kept = kept_headers.kept(odd | {f"x-{number}": b"\x00\xff" for number in range(100)})
    assert len(kept) == kept_headers.MOST
    assert set(kept.values()) == {"ÿ"}


def test_who_sees_messages_alone_finds_no_links_elsewhere(client, person, connection):  # noqa: F811
    message = received(client, connection, order())
    decision("c-1")
    grant(person, "view_inboundmessage")
    text = shown(client, message)
    assert "c-1" in text
    for name in ("segmentation/customer/", "outboundmessage/", "/setup/", "Show it in full", "Process again"):
        assert name not in text, name
    assert client.get(page("inboundmessage_way", message.pk)).status_code == 200


def test_a_stranger_sees_no_way(client, person, connection):  # noqa: F811
    message = received(client, connection, order())
    assert client.get(page("inboundmessage_way", message.pk)).status_code == 403
    assert client.post(page("inboundmessage_body", message.pk)).status_code == 403
    assert not AuditEntry.objects.filter(action="message.body_read").exists()


def test_a_body_that_is_no_longer_kept_is_not_offered(admin_client, client, connection):
    message = received(client, connection, order())
    InboundMessage.objects.update(body=None)
    text = shown(admin_client, message)
    assert "no longer kept" in text
    assert "Show it in full" not in text


def test_a_large_batch_costs_the_page_no_more_queries(admin_client, client, connection):
    def queries(message):
        shown(admin_client, message)
        with CaptureQueriesContext(database) as found:
            shown(admin_client, message)
        return len(found)

    few = queries(received(client, connection, order()))
    batch = envelope("events.batch", events=[order(f"o-{number}", f"c-{number}") for number in range(50)])
    assert queries(received(client, connection, batch, message_id="msg_2")) <= few <= MESSAGE_PAGE


def test_a_message_that_was_not_taken_caused_nothing(admin_client, client, connection):
    received(client, connection, order("o-1"))
    message = received(client, connection, order("o-2", currency="XXX"), message_id="msg_2")
    made = decision("c-1")
    sent = OutboundMessage.objects.create(
        connection=connection, message_id="d", topic="decision.made", body=b"{}", customer=made.customer
    )
    text = shown(admin_client, message)
    assert "Decision, unchanged:" in text
    assert page("outboundmessage_change", sent.pk) not in text
