"""Merging and splitting from a customer's page: first what would change, then the button."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from segmentation import holdouts, identities
from segmentation.dashboard import merge_page
from segmentation.kinds import EventKind
from segmentation.models import AuditEntry, Consent, Customer, CustomerIdentity, Event, EventSource
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page

AT = datetime(2026, 5, 1, tzinfo=UTC)
MERGE_PAGE = 26


def html(answer):
    return answer.content.decode()


def order(customer, key, minor):
    source = EventSource.objects.get_or_create(slug="s")[0]
    Event.objects.create(
        customer=customer, kind=EventKind.ORDER_PLACED, occurred_at=AT, source=source, source_key=key,
        order_key=key, amount_minor=minor,
    )  # fmt: skip


def consent(customer, purpose, status):
    Consent.objects.create(customer=customer, purpose=purpose, status=status, decided_at=AT)


@pytest.fixture
def pair(db):
    """The newer one stays, the older one comes along: it has a country, a refusal and the older draw."""
    survivor = world.customer("new", country="", tier="low")
    other = world.customer("old", country="France", tier="high")
    Customer.objects.filter(pk=other.pk).update(created_at=datetime(2020, 1, 1, tzinfo=UTC))
    CustomerIdentity.objects.create(customer=other, namespace="crm", value="77")
    order(survivor, "o-1", 1000)
    order(other, "o-2", 2500)
    order(other, "o-3", 500)
    consent(survivor, "marketing", "granted")
    consent(other, "marketing", "denied")
    return Customer.objects.get(pk=survivor.pk), Customer.objects.get(pk=other.pk)


def cells(preview, label):
    return next(row.cells for row in preview.rows if str(row.label) == label)


def merge(client, survivor, other, **fields):
    preview = merge_page.merge(survivor, other)
    form = {"other": other.reference, "stamp": preview.stamp, **fields}
    return client.post(page("customer_merge", survivor.pk), form)


# --- previews
def test_the_preview_says_what_the_merge_then_does(pair):
    survivor, other = pair
    preview = merge_page.merge(survivor, other)
    assert cells(preview, "orders placed") == ("1", "2", "3")
    assert cells(preview, "paid for them")[2].startswith("40.00")
    assert cells(preview, "known as") == ("new", "crm: 77", "new, crm: 77")
    assert cells(preview, "Marketing messages") == ("Agreed", "Refused", "Refused")
    assert cells(preview, "Profiling")[2] == "never answered"
    assert cells(preview, "country") == ("–", "France", "France")
    assert cells(preview, "value tier") == ("Low value", "High value", "worked out anew")
    identities.merge(survivor, other)
    survivor.refresh_from_db()
    assert survivor.country == "France"
    assert holdouts.key_of(survivor) == "old"


def test_the_older_draw_counts_and_the_preview_says_how(pair):
    survivor, other = pair
    holdouts.set_global(Decimal(50))
    draw = holdouts.current_draws()[None]
    held = {
        reference: "yes" if holdouts.is_held_out(draw, reference) else "no" for reference in ("new", "old")
    }
    shown = cells(merge_page.merge(survivor, other), "in a holdout")
    assert shown == (held["new"], held["old"], f"{held['old']} (drawn as old)")


def test_the_preview_of_a_split_says_what_goes_back(pair):
    survivor, other = pair
    identities.merge(survivor, other)
    order(other, "o-4", 100)
    preview = merge_page.split(Customer.objects.get(pk=other.pk))
    assert cells(preview, "orders placed") == ("4", "1", "3")
    assert cells(preview, "country") == ("France", "–", "France")
    assert cells(preview, "Marketing messages") == ("Refused", "Agreed", "Refused")
    identities.split(other)
    survivor.refresh_from_db()
    assert survivor.country == ""


def test_whoever_was_merged_before_comes_along_and_goes_again(pair):
    survivor, other = pair
    third = world.customer("third")
    order(third, "o-9", 700)
    identities.merge(other, third)
    assert cells(merge_page.merge(survivor, other), "orders placed") == ("1", "3", "4")
    identities.merge(survivor, other)
    preview = merge_page.split(Customer.objects.get(pk=other.pk))
    assert cells(preview, "orders placed") == ("4", "1", "3")
    assert any("go with it" in note for note in preview.notes)


# --- the pages
def test_customers_are_merged_and_split_from_their_page(admin_client, admin_user, pair):
    survivor, other = pair
    assert page("customer_merge", survivor.pk) in html(admin_client.get(page("customer_change", survivor.pk)))
    for named in ("old", "77", " old "):
        shown = html(admin_client.get(page("customer_merge", survivor.pk), {"other": named}))
        assert "Merge old into new" in shown, named
    assert "The other way round: old stays" in shown
    answer = merge(admin_client, survivor, other)
    assert answer["Location"] == page("customer_change", survivor.pk)
    other.refresh_from_db()
    assert other.merged_into == survivor
    assert AuditEntry.objects.get(action="customer.merged").actor == admin_user
    shown = html(admin_client.get(page("customer_change", survivor.pk)))
    assert page("customer_split", other.pk) in shown
    stamp = merge_page.split(other).stamp
    answer = admin_client.post(page("customer_split", other.pk), {"stamp": stamp}, follow=True)
    assert "stands apart again" in html(answer)
    other.refresh_from_db()
    assert other.merged_into is None
    assert AuditEntry.objects.get(action="customer.split").actor == admin_user


def test_nothing_happens_before_the_preview_was_seen(admin_client, pair):
    survivor, other = pair
    address = page("customer_merge", survivor.pk)
    assert admin_client.get(address, {"other": "old"}).status_code == 200
    assert admin_client.post(address, {"other": "old"}).status_code == 200
    stale = merge_page.merge(survivor, other).stamp
    Customer.objects.filter(pk=other.pk).update(input_version=99)
    assert "Something changed meanwhile" in html(admin_client.post(address, {"other": "old", "stamp": stale}))
    other.refresh_from_db()
    assert other.merged_into is None
    assert not AuditEntry.objects.filter(action="customer.merged").exists()


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("nobody", "No customer has this number or id"),
        ("new", "cannot be merged into itself"),
        ("part", "already merged into another"),
        ("", "This field is required"),
    ],
)
def test_who_cannot_be_merged_is_said(admin_client, pair, named, says):
    survivor, other = pair
    identities.merge(other, world.customer("part"))
    shown = html(admin_client.get(page("customer_merge", survivor.pk), {"other": named}))
    assert says in shown
    assert "Merge " + named + " into" not in shown


def test_a_customer_that_stands_alone_is_not_split(admin_client, pair):
    answer = admin_client.get(page("customer_split", pair[1].pk), follow=True)
    assert "is not merged into another" in html(answer)


# --- who may
@pytest.fixture
def staff(client, django_user_model, pair):
    user = django_user_model.objects.create_user("ada", is_staff=True)

    def signed_in(*codenames):
        user.user_permissions.set(
            Permission.objects.filter(content_type__app_label="segmentation", codename__in=codenames)
        )
        client.force_login(type(user).objects.get(pk=user.pk))
        return client

    return signed_in


@pytest.mark.parametrize("codenames", [(), ("view_customer",), ("merge_customer",)])
def test_without_both_permissions_nothing_is_shown_or_changed(staff, pair, codenames):
    survivor, other = pair
    client = staff(*codenames)
    assert client.get(page("customer_merge", survivor.pk), {"other": "old"}).status_code == 403
    assert merge(client, survivor, other).status_code == 403
    identities.merge(survivor, other)
    stamp = merge_page.split(Customer.objects.get(pk=other.pk)).stamp
    assert client.post(page("customer_split", other.pk), {"stamp": stamp}).status_code == 403
    other.refresh_from_db()
    assert other.merged_into == survivor
    if "view_customer" in codenames:
        shown = html(client.get(page("customer_change", survivor.pk)))
        assert page("customer_merge", survivor.pk) not in shown
        assert page("customer_split", other.pk) not in shown


def test_ids_of_other_systems_need_their_permission(staff, pair):
    survivor, _other = pair
    client = staff("view_customer", "merge_customer")
    address = page("customer_merge", survivor.pk)
    assert "No customer has this number or id" in html(client.get(address, {"other": "77"}))
    client = staff("view_customer", "merge_customer", "view_customeridentity")
    assert "Merge old into new" in html(client.get(address, {"other": "77"}))


def test_the_preview_costs_the_same_however_much_there_is(admin_client, pair):
    survivor, other = pair

    def queries():
        with CaptureQueriesContext(database) as found:
            admin_client.get(page("customer_merge", survivor.pk), {"other": "old"})
        return len(found)

    queries()
    few = queries()
    for number in range(20):
        order(other, f"more-{number}", 100)
        CustomerIdentity.objects.create(customer=other, namespace="crm", value=f"id-{number}")
    assert queries() == few <= MERGE_PAGE
