"""Lists of rules that name products read the products of all rows at once."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from segmentation.models import Product, ServicePriorityRule
from tests.segmentation.admin import world
from tests.segmentation.admin.test_campaigns import html
from tests.segmentation.admin.world import page


def rule(number: int) -> dict:
    product = Product.objects.create(external_id=f"A{number}", name=f"Bear {number}")
    event = {"kind": ["viewed"], "product": {"id": [product.external_id]}}
    return {"event": event, "op": ">=", "value": 1}


def in_segment(number: int):
    world.segment(f"Bears {number}", rule=rule(number))


def in_priority(number: int):
    ServicePriorityRule.objects.create(
        position=number, name=f"Bears {number}", level=4, condition=rule(number)
    )


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "make"), [("segment", in_segment), ("servicepriorityrule", in_priority)])
def test_a_list_asks_for_the_products_of_its_rows_once(admin_client, name, make):
    make(1)
    admin_client.get(page(f"{name}_changelist"))

    def asked() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            said = html(admin_client.get(page(f"{name}_changelist")))
        assert "Bear 1 (A1)" in said
        return sum('FROM "segmentation_product" ' in query["sql"] for query in queries)

    assert asked() == 1
    for number in range(2, 6):
        make(number)
    assert asked() == 1
