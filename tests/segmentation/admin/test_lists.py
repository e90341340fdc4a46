"""Lists cost the same number of queries whatever they hold, and show at most so many rows."""

from __future__ import annotations

import re

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from segmentation import counts
from segmentation.admin import pagination
from segmentation.models import (
    AuditEntry,
    Customer,
    CustomerCounts,
    CustomerIdentity,
    Product,
    TrainingRun,
)
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page

# Session, user, and what the page itself needs. A higher number means a query crept in.
CUSTOMERS_LIST = 13
CUSTOMER_PAGE = 31
AUDIT_LIST = 9


def queries(client, address):
    cache.clear()
    with CaptureQueriesContext(
        connection,
    ) as found:
        assert client.get(address).status_code == 200
    return len(found)


def test_the_customers_list_costs_the_same_for_3_and_60_rows(admin_client):
    whom, gives = world.segment(), world.offer()
    world.customers(3, segments=[whom], current_offer=gives)
    few = queries(admin_client, page("customer_changelist"))
    world.customers(57, segments=[whom], current_offer=gives)
    many = queries(admin_client, page("customer_changelist"))
    assert many == few <= CUSTOMERS_LIST


def test_a_customers_page_costs_the_same_for_3_and_60_orders(admin_client):
    buyer = world.customer()
    address = page("customer_change", buyer.pk)
    world.history(buyer, 3)
    few = queries(admin_client, address)
    world.history(buyer, 60)
    assert queries(admin_client, address) == few <= CUSTOMER_PAGE


def test_the_audit_list_costs_the_same_for_3_and_60_entries(admin_client, admin_user):
    def add(count):
        for number in range(count):
            AuditEntry.record("looked", world.segment(f"S{number}"), actor=admin_user)

    add(3)
    few = queries(admin_client, page("auditentry_changelist"))
    add(57)
    assert queries(admin_client, page("auditentry_changelist")) == few <= AUDIT_LIST


def plan(rows, *, ordered=False):
    """How the database would read `rows` if there were many of them."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
    return (rows if ordered else rows.order_by()).explain()


@pytest.mark.parametrize("term", ["42", "promoted", "segmentation.segment"])
def test_the_audit_search_reads_an_index_and_finds_by_id_action_and_kind(admin_client, term):
    fitting = {"object_type": "segmentation.segment", "object_id": "42", "action": "promoted"}
    field = next(name for name, value in fitting.items() if value == term)
    other = {"object_type": "segmentation.offer", "object_id": "7", "action": "looked"}
    AuditEntry.objects.create(**other)
    wanted = AuditEntry.objects.create(**{**other, field: term})
    found = admin_client.get(page("auditentry_changelist"), {"q": term}).context["cl"].queryset
    assert list(found) == [wanted]
    whole_table = (
        r"^Seq Scan|-> +Seq Scan" if connection.vendor == "postgresql" else r"\bSCAN \w+(?! USING)\b"
    )
    assert not re.search(whole_table, plan(found))


def test_a_product_is_found_by_its_id_or_the_beginning_of_its_name(admin_client):
    ids = ("P1", "P10", "X9")
    Product.objects.bulk_create(Product(external_id=one, name=f"Candle {one}") for one in ids)

    def found(term):
        return admin_client.get(page("product_changelist"), {"q": term}).context["cl"].queryset

    assert {one.external_id for one in found("P1")} == {"P1"}
    assert {one.external_id for one in found("Candle P1")} == {"P1", "P10"}
    assert "UPPER" not in str(found("Candle P1").query)
    read = plan(found("P1"))
    assert "Index" in read or "USING INDEX" in read


@pytest.mark.parametrize(
    "name", ["segment", "campaign", "modelversion", "trainingrun", "servicepriorityrule"]
)
def test_other_lists_do_not_grow_with_their_rows(admin_client, name):
    def add(count, start):
        for number in range(start, start + count):
            whom = world.segment(f"Segment {number}")
            world.campaign(whom, world.offer())
            world.version(number)
            TrainingRun.objects.create()
            world.ServicePriorityRule.objects.create(position=number, name="x", segment=whom)

    add(3, 1)
    few = queries(admin_client, page(f"{name}_changelist"))
    add(12, 4)
    assert queries(admin_client, page(f"{name}_changelist")) == few


def test_a_long_list_is_cut_instead_of_counted(admin_client, monkeypatch):
    monkeypatch.setattr(pagination, "ROWS_SHOWN", 20)
    Product.objects.bulk_create(Product(external_id=f"p{n}") for n in range(30))
    text = admin_client.get(page("product_changelist")).content.decode()
    assert "The first 20 are shown" in text


def test_a_count_never_sorts_or_reads_past_the_bound():
    paginator = pagination.BoundedPaginator(Customer.objects.order_by("-spent_minor"), 50)
    with CaptureQueriesContext(connection) as found:
        assert paginator.count == 0
        assert not paginator.is_cut
    assert "ORDER BY" not in found[0]["sql"]
    assert f"LIMIT {pagination.ROWS_SHOWN + 1}" in found[0]["sql"]
    assert len(found) == 1


WHOLE_TABLE = r"Seq Scan on segmentation_customer\b|SCAN segmentation_customer(?! USING)\b|Sort\b|TEMP B-TREE"


# The first column is the box to tick.
@pytest.mark.parametrize("column", ["2", "3", "6", "7", "8", "9"])
@pytest.mark.parametrize("direction", ["", "-"])
def test_an_index_sorts_the_customers_by_every_column_both_ways(admin_client, column, direction):
    world.customers(3, last_order_at=world.AT)
    listed = admin_client.get(page("customer_changelist"), {"o": f"{direction}{column}"}).context["cl"]
    rows = listed.queryset.select_related(None)[:50]
    assert not re.search(WHOLE_TABLE, plan(rows, ordered=True))


def test_who_has_no_value_is_left_out_where_the_list_is_sorted_by_it(admin_client):
    known = world.customers(2, last_order_at=world.AT)
    world.customer(last_order_at=None)
    answer = admin_client.get(page("customer_changelist"), {"o": "-7"})
    assert [row.pk for row in answer.context["cl"].queryset] == [known[1].pk, known[0].pk]
    assert "is left out" in answer.content.decode()
    assert admin_client.get(page("customer_changelist")).context["cl"].result_count == 3


def test_behind_a_filter_the_newest_come_first(admin_client):
    first = world.customer(priority=4)
    second = world.customer(priority=2)
    listed = admin_client.get(page("customer_changelist")).context["cl"].queryset
    assert [row.pk for row in listed] == [first.pk, second.pk]
    listed = admin_client.get(page("customer_changelist"), {"tier": "high"}).context["cl"].queryset
    assert [row.pk for row in listed] == [second.pk, first.pk]


def test_a_customer_is_found_by_an_id_of_any_source_through_its_index(admin_client):
    wanted = world.customer()
    world.customers(2)
    for namespace in ("crm", "store"):
        CustomerIdentity.objects.create(customer=wanted, namespace=namespace, value="X-7")
    found = admin_client.get(page("customer_changelist"), {"q": "X-7"}).context["cl"].queryset
    assert list(found) == [wanted]
    assert "identity_belongs_to_one_customer" in plan(found) or "namespace=? AND value=?" in plan(found)


def test_a_shop_that_is_slow_to_count_is_counted_by_workers_alone(admin_client, monkeypatch):
    world.shop_with_everything()
    monkeypatch.setattr(counts, "QUICK_SECONDS", 0.0)
    counts.store_if_due()
    cache.clear()
    world.customers(3)

    def scans(look):
        with CaptureQueriesContext(connection) as found:
            look()
        return sum("GROUP BY" in query["sql"] and "risk_bin" in query["sql"] for query in found)

    assert scans(lambda: admin_client.get("/admin/")) == 0
    assert counts.read().customers == 1
    assert scans(counts.store_if_due) == 0
    CustomerCounts.objects.update(counted_at="2024-05-01T12:00:00Z")
    assert scans(counts.store_if_due) == 1
    assert counts.read() == counts.store()
    assert counts.read().customers == 4


def test_the_home_page_reads_the_customers_once_a_minute(admin_client):
    world.shop_with_everything()

    def scans():
        with CaptureQueriesContext(connection) as found:
            assert admin_client.get("/admin/").status_code == 200
        return sum("risk_bin" in query["sql"] for query in found)

    assert scans() == 1
    assert scans() == 0
