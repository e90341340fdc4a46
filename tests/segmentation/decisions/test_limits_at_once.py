"""Workers at once never give more than there is: real connections, real threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import polars as pl
import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from segmentation import campaigns, targets
from segmentation.decisions import decide, limits
from segmentation.decisions import policy as policies
from segmentation.decisions.limits import Allowance
from segmentation.models import Campaign, Customer, Grant, OfferCode, Usage
from tests.segmentation.decisions.shop import AS_OF, FREQUENT, SCHEMA, USUAL, campaign, offer

pytestmark = pytest.mark.django_db(transaction=True)
WORKERS, EACH = 4, 15
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


def at_once(work) -> list:
    """work(number) in a thread and connection of its own each, all started together."""
    ready = Barrier(WORKERS)

    def one(number):
        try:
            ready.wait()
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(one, range(WORKERS)))


def decide_some(number: int, first_version: int = 1) -> None:
    """Every customer in a transaction of their own, as after a webhook."""
    for n in range(number * EACH + 1, (number + 1) * EACH + 1):
        row = {"customer_id": n, **USUAL, "feature.orders_90d": 4.0, "input_version": first_version}
        with transaction.atomic():
            decide(pl.DataFrame([row], schema=SCHEMA), as_of=AS_OF, cause=2, at=NOON)


@pytest.fixture
def crowd(transactional_db):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite lets one transaction write at a time")
    targets.install()
    Customer.objects.bulk_create(Customer(pk=n, reference=f"c{n}") for n in range(1, WORKERS * EACH + 1))


def test_codes_limits_and_budgets_hold_between_workers(crowd):
    pool = offer("pool", codes="pool")
    OfferCode.objects.bulk_create(OfferCode(offer=pool, code=f"X{n}") for n in range(17))
    campaign("codes", (FREQUENT, pool), priority=3, stacks=True)
    campaign("few", (FREQUENT, offer("few", limit_total=23)), priority=2, stacks=True)
    campaign("money", (FREQUENT, offer("dear", cost_minor=70)), priority=1, budget_minor=1000, stacks=True)
    at_once(decide_some)
    given = {slug: Grant.objects.filter(campaign__slug=slug) for slug in ("codes", "few", "money")}
    assert [rows.count() for rows in given.values()] == [17, 23, 14]
    assert len(set(given["codes"].values_list("code", flat=True))) == 17
    assert Usage.objects.get(campaign__slug="money").spent_minor == 980


def test_what_is_used_up_is_not_waited_for(crowd):
    campaign("few", (FREQUENT, offer("few", limit_total=1)))

    def held(number):
        with CaptureQueriesContext(connection) as asked:
            decide_some(number)
        return [q for q in asked if Usage._meta.db_table in q["sql"] and "FOR UPDATE" in q["sql"]]

    assert len(held(0)) == 1
    assert held(1) == []
    assert Usage.objects.get().given == Grant.objects.count() == 1


def test_a_limit_lowered_meanwhile_is_kept_or_refused(crowd):
    made = campaign("few", (FREQUENT, offer("few", limit_total=50)))

    def work(number):
        if number:
            return decide_some(number)
        few = made.rules.get().offer
        few.limit_total = 10
        few.save(update_fields=["limit_total"])
        try:
            campaigns.sync_limits(Campaign.objects.get())
        except ValidationError:
            return "refused"
        return "kept"

    outcome = at_once(work)[0]
    row = Usage.objects.get()
    assert row.given == Grant.objects.count()
    assert row.most == (10 if outcome == "kept" else 50)
    assert row.given <= row.most


def test_limits_are_brought_in_line_in_the_order_of_decisions(crowd):
    """A campaign counted after its offer: whoever edits it and whoever decides wait for each other, never in a circle."""
    few = offer("few", limit_total=40)
    limits.follow(few)
    made = campaign("money", (FREQUENT, few), budget_minor=100_000)
    assert few.usage.pk < made.usage.pk

    def work(number):
        for _ in range(25):
            if number % 2:
                with transaction.atomic():
                    campaigns.sync_limits(made)
            else:
                with transaction.atomic():
                    Allowance(policies.current(AS_OF))._read()

    at_once(work)
