"""Lists cost the same number of queries whatever they hold, and show at most so many rows."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from segmentation.admin import pagination
from segmentation.models import Customer, Product, TrainingRun
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page

# Session, user, and what the page itself needs. A higher number means a query crept in.
CUSTOMERS_LIST = 11
CUSTOMER_PAGE = 30


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


def test_the_home_page_reads_the_customers_once_a_minute(admin_client):
    world.shop_with_everything()

    def scans():
        with CaptureQueriesContext(connection) as found:
            assert admin_client.get("/admin/").status_code == 200
        return sum("risk_bin" in query["sql"] for query in found)

    assert scans() == 1
    assert scans() == 0
