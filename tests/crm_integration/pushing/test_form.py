"""Staff choose on the connection's page what is written to the CRM, and under which names."""

from __future__ import annotations

import pytest
from django.urls import reverse

from crm_integration.adapters import registry
from crm_integration.models import Connection
from crm_integration.pushed_values import names_of
from segmentation.models import AuditEntry
from tests.crm_integration import fixtures
from tests.crm_integration.pushing.kinds import OUTPUTS

pytestmark = pytest.mark.django_db


def page(row):
    return reverse("admin:crm_integration_connection_change", args=[row.pk])


def form(**fields):
    return {
        "name": "Shop", "slug": "shop", "adapter": "shopify", "is_active": "on", "accepts_inbound": "on",
        "sends_outbound": "on", "outbound_via": "vendor", "outbound_url": "", "job_topics": "{}",
        "queue_must_sign": "on", "need_shop_domain": "my-shop.myshopify.com", "need_access_token": "shpat_1",
        **fields,
    }  # fmt: skip


def names(**fields):
    """The posted part about what is written."""
    chosen = {f"push_{output}": output for output in OUTPUTS}
    return {**chosen, "push_tag_prefix": "tierwise:", "push_namespace": "tierwise", **fields}


@pytest.fixture
def shop(db):
    return fixtures.connection("shop", adapter="shopify")


def chosen(row):
    row.refresh_from_db()
    return names_of(row, registry.get(row.adapter))


def test_a_connection_is_switched_to_the_crms_own_api_with_defaults(admin_client, shop):
    assert admin_client.post(page(shop), form()).status_code == 302
    shop.refresh_from_db()
    assert (shop.sends_outbound, shop.outbound_via, shop.push) == (True, "vendor", {})
    assert chosen(shop).fields["tier"] == "tier"
    assert (chosen(shop).tag_prefix, chosen(shop).namespace) == ("tierwise:", "tierwise")
    shown = admin_client.get(page(shop)).content.decode()
    assert 'name="push_tier"' in shown
    assert "What we write to the CRM" in shown


def test_names_and_outputs_are_chosen_and_stay(admin_client, shop):
    posted = form(**names(push_tier="level", push_churn="", push_tag_prefix="", push_namespace="our-shop"))
    assert admin_client.post(page(shop), posted).status_code == 302
    found = chosen(shop)
    assert (found.fields["tier"], found.fields["churn"]) == ("level", "")
    assert (found.tag_prefix, found.namespace) == ("", "our-shop")
    assert "churn" not in found.all_fields
    shown = admin_client.get(page(shop)).content.decode()
    assert 'value="level"' in shown
    assert AuditEntry.objects.filter(action="connection.push_changed").count() == 1
    admin_client.post(page(shop), posted)
    assert AuditEntry.objects.filter(action="connection.push_changed").count() == 1


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"push_tier": "my tier!"}, "does not take this"),
        ({"push_tier": "same", "push_churn": "same"}, "same field"),
        ({"push_namespace": "a"}, "3 to 255"),
    ],
)
def test_names_that_the_crm_cannot_take_are_refused_in_the_form(admin_client, shop, fields, says):
    answer = admin_client.post(page(shop), form(**names(**fields)))
    assert answer.status_code == 200
    assert says in answer.content.decode()
    assert chosen(shop).fields["tier"] == "tier"


def test_credentials_come_first(admin_client, shop):
    answer = admin_client.post(page(shop), form(need_access_token=""))
    assert "credentials of the CRM" in answer.content.decode()
    assert not Connection.objects.get().sends_outbound


@pytest.mark.parametrize("kind", ["standard", "stripe", "svix"])
def test_a_kind_whose_records_cannot_be_written_to_says_so(admin_client, kind):
    row = fixtures.connection("shop", adapter=kind)
    posted = {**form(adapter=kind), "need_secret_key": "rk_1"}
    answer = admin_client.post(page(row), posted)
    assert "cannot be written to" in answer.content.decode()
    assert not Connection.objects.get().sends_outbound
    assert "push_tier" not in admin_client.get(page(row)).content.decode()


def test_a_page_that_does_not_show_the_choice_does_not_change_it(admin_client, shop):
    admin_client.post(page(shop), form(**names(push_tier="level")))
    admin_client.post(page(shop), form())
    assert chosen(shop).fields["tier"] == "level"
