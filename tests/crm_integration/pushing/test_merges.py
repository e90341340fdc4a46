"""Merges and deletions that a CRM tells are followed, and what we write follows them."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from crm_integration import inbox
from crm_integration.models import InboundMessage, PushedRecord
from segmentation import identities
from segmentation.models import Alert, Customer
from tests.crm_integration.adapters.signing import content, payload
from tests.crm_integration.pushing.helpers import decide, people
from tests.crm_integration.pushing.test_vendor_limits import only

pytestmark = pytest.mark.django_db


def processed(row, body, *, topic="", key="k"):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = inbox.receive(row, dedupe_key=key, body=raw, received_at=timezone.now(), topic=topic).message_id
    inbox.process(message)
    return InboundMessage.objects.get(pk=message)


def merge(**ids):
    return [
        {
            "eventId": 1, "subscriptionId": 1, "portalId": 1, "occurredAt": 1793527200001,
            "subscriptionType": "contact.merge", "attemptNumber": 0, "objectId": ids.get("primaryObjectId"),
            "numberOfPropertiesMoved": 2, **ids,
        }
    ]  # fmt: skip


@only("hubspot")
@pytest.mark.parametrize("new", [None, 101, 777])
def test_a_merge_in_hubspot_is_followed(kind, crm_api, row, new):
    first, second, third = people(kind, crm_api, 3)
    decide(first, second, third)
    if new == 777:
        crm_api.add(777)
    ids = {"primaryObjectId": 101, "mergedObjectIds": [102], **({"newObjectId": new} if new else {})}
    message = processed(row, merge(**ids))
    assert message.outcome == "recorded"
    kept = identities.resolve("crm", str(new or 101))
    assert {identities.resolve("crm", key).pk for key in ("101", "102")} == {kept.pk}
    assert identities.resolve("crm", "103").pk == third.pk
    assert Customer.objects.filter(merged_into=kept).count() == (2 if new == 777 else 1)
    merged = Customer.objects.filter(merged_into=kept).count()
    processed(row, merge(**ids), key="again")
    assert Customer.objects.filter(merged_into=kept).count() == merged
    decide(kept, version=5, priority=4)
    assert kind.fields(crm_api, str(new or 101))["tierwise_priority"] == "urgent"


@only("shopify")
def test_a_merge_in_shopify_is_followed_once_it_is_complete(kind, crm_api, row):
    first, second = people(kind, crm_api, 2)
    decide(first, second)
    told = content("shopify/customers_merge")
    for number, status in enumerate(("requested", "in_progress", "failed")):
        message = processed(row, {**told, "status": status}, topic="customers/merge", key=f"{number}")
        assert message.outcome == "nothing_new"
        assert not Customer.objects.exclude(merged_into=None).exists()
    assert processed(row, told, topic="customers/merge", key="done").outcome == "recorded"
    assert {identities.resolve("crm", key).pk for key in ("101", "102")} == {first.pk}
    decide(first, version=5, priority=4)
    assert kind.fields(crm_api, "101")["priority"] == "urgent"


@only("shopify")
@pytest.mark.parametrize("kept", ["gid://shopify/Order/101", "101", "gid://shopify/Customer/", 5, None])
def test_a_merge_that_names_no_customer_of_shopify_is_rejected(kind, crm_api, row, kept):
    told = {**content("shopify/customers_merge"), "admin_graphql_api_customer_kept_id": kept}
    message = processed(row, told, topic="customers/merge")
    assert message.outcome == "rejected"
    assert "admin_graphql_api_customer_kept_id" in message.detail["rejections"][0]["reason"]


@only("hubspot")
def test_a_merge_of_people_nobody_knows_makes_nobody(kind, crm_api, row):
    processed(row, merge(primaryObjectId=901, mergedObjectIds=[902, True, None, {"id": 1}]))
    assert not Customer.objects.exists()


@only("shopify", "woocommerce")
def test_a_deletion_told_by_the_shop_ends_the_writing_and_tells_staff(kind, crm_api, row):
    (one,) = people(kind, crm_api, 1)
    decide(one)
    topic = {"shopify": "customers/delete", "woocommerce": "customer.deleted"}[kind.slug]
    processed(row, {"id": 101}, topic=topic)
    assert PushedRecord.objects.get().gone_at is not None
    assert Alert.objects.filter(key__startswith="privacy-deleted").exists()
    asked = len(crm_api.asked)
    (message,) = decide(one, version=2, priority=4)
    assert message.state == "cancelled"
    assert len(crm_api.asked) == asked


@only("shopify")
def test_a_record_that_is_told_about_again_is_written_to_again(kind, crm_api, row):
    (one,) = people(kind, crm_api, 1, tier="high")
    decide(one)
    PushedRecord.objects.update(gone_at=timezone.now())
    body = {**json.loads(payload("shopify/customers_update")), "id": 101, "first_name": "Grace"}
    processed(row, body, topic="customers/update")
    record = PushedRecord.objects.get()
    assert (record.gone_at, record.values) == (None, {})
    (message,) = decide(one, version=2, priority=4)
    assert message.state == "done"


def test_an_erased_customer_leaves_no_record_of_what_was_written(db):
    from crm_integration.privacy import MESSAGES

    assert PushedRecord in MESSAGES.models
