"""The line, end to end: a signed webhook in, a signed decision out, each step as a worker would take it."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone
from standardwebhooks import Webhook

from crm_integration import inbox, outbox
from crm_integration.models import OutboundMessage
from segmentation import scoring, starter
from segmentation.models import Decision, DueCustomer
from tests.crm_integration import fixtures

pytestmark = pytest.mark.django_db


@pytest.fixture
def connection(crm):
    return fixtures.connection("crm", url=crm.url)


def work():
    """What the nudges would have done."""
    for message_id in list(inbox.InboundMessage.objects.values_list("pk", flat=True)):
        inbox.process(message_id)
    while scoring.rescore_due(on_decided=outbox.stage):
        pass
    outbox.deliver_due()


def test_a_first_order_leads_to_a_delivered_decision(client, crm, connection, shop):
    starter.install()
    answer = fixtures.deliver(client, connection, fixtures.order(customer="C-1", at=timezone.now()))
    assert answer.status_code == 202
    work()
    decision = Decision.objects.get()
    (headers, body), *more = crm.requests
    message = Webhook(connection.outbound_secret).verify(body, headers)
    assert not more
    assert headers["webhook-id"] == f"decision_{decision.pk}"
    assert message["data"]["customer"] == {"reference": "C-1"}
    assert message["data"]["reasons"]
    assert OutboundMessage.objects.get().state == "done"
    assert not DueCustomer.objects.exclude(state="done").exists()


def test_the_same_message_again_decides_and_delivers_nothing_more(client, crm, connection, shop):
    starter.install()
    content = fixtures.order(customer="C-1")
    for message_id in ("first", "again"):
        fixtures.deliver(client, connection, content, message_id=message_id)
        work()
    assert Decision.objects.count() == 1
    assert len(crm.requests) == 1


def test_a_burst_about_one_customer_is_one_decision(client, crm, connection, shop):
    starter.install()
    for number in range(8):
        fixtures.deliver(client, connection, fixtures.order(f"o-{number}", "C-1"), message_id=f"m-{number}")
    work()
    assert Decision.objects.count() == 1
    assert json.loads(crm.requests[-1][1])["data"]["customer"]["reference"] == "C-1"
