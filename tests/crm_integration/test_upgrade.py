"""What waits while the product is upgraded is worked off by the new version, once."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command
from django.db import connection as database
from django.db.migrations.executor import MigrationExecutor

from crm_integration import inbox, outbox
from crm_integration.models import InboundMessage, OutboundMessage
from segmentation import leases, scoring
from segmentation.models import Customer, Decision, Event
from tests.crm_integration import fixtures

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = ("crm_integration", "0001_initial")


@pytest.fixture
def first_schema():
    """The tables of messages as the first version made them; its models."""
    executor = MigrationExecutor(database)
    executor.migrate([FIRST])
    yield executor.loader.project_state([FIRST]).apps
    call_command("migrate", verbosity=0)


def test_messages_of_the_first_version_are_worked_off_after_the_upgrade(crm, first_schema):
    connections = first_schema.get_model("crm_integration", "Connection")
    received = first_schema.get_model("crm_integration", "InboundMessage")
    to_send = first_schema.get_model("crm_integration", "OutboundMessage")
    shop = connections.objects.create(
        slug="shop", name="Shop", sends_outbound=True, outbound_url=crm.url,
        outbound_secret="whsec_c2VjcmV0IG9mIHRoZSBmaXJzdCB2ZXJzaW9u",
    )  # fmt: skip
    for number, state in enumerate(("queued", "running")):
        body = json.dumps(fixtures.order(f"o-{number}", f"c-{number}")).encode()
        received.objects.create(
            connection=shop, dedupe_key=str(number), body=body, body_sha256="0", state=state,
            lease_until="2020-01-01T00:00Z" if state == "running" else None,
        )  # fmt: skip
        to_send.objects.create(connection=shop, message_id=f"test_{number}", topic="t", body=b"{}")

    call_command("migrate", verbosity=0)
    inbox.process_due()
    scoring.rescore_due(on_decided=outbox.stage)
    outbox.deliver_due()

    assert {row.state for row in InboundMessage.objects.all()} == {"done"}
    assert sorted(Event.objects.values_list("order_key", flat=True)) == ["o-0", "o-1"]
    assert Decision.objects.count() == Customer.objects.count() == 2
    assert {row.state for row in OutboundMessage.objects.all()} == {"done"}
    assert len(crm.requests) == OutboundMessage.objects.count() == 4
    assert not leases.claimable(InboundMessage.objects.all()).exists()
