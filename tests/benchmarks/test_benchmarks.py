"""What the benchmarks compare must be the same work, or their ratios say nothing."""

from __future__ import annotations

import pytest
from django.db import connection

from benchmarks import campaigns, copies, decision_worker, floor, growth, rules, segments
from segmentation import contacts, scoring_runs, starter, stored_frames
from segmentation.features import store
from segmentation.models import (
    Campaign,
    ContactData,
    Customer,
    CustomerFeatures,
    CustomerIdentity,
    Decision,
    Event,
    Grant,
    InputSnapshot,
    Membership,
    Score,
    Segment,
    ServicePriority,
    Shop,
    Usage,
)
from tests.segmentation.admin import world


def classify():
    run = scoring_runs.start()
    while shard := scoring_runs.claim_shard(run.pk):
        scoring_runs.run_shard(shard)
    scoring_runs.finish(run.pk)


def test_rules_by_hand_find_the_same_customers(champion):
    classify()
    frame = stored_frames.read(
        list(store.input_versions(list(Customer.objects.values_list("pk", flat=True))))
    )
    assert frame.height
    spent = {"rules": 0.0, "by_hand": 0.0}
    segments._compare(
        frame, segments._definitions(), Shop.get().today(), spent
    )  # ends the run when they differ
    assert min(spent.values()) > 0


def test_a_shop_has_thirty_segments_and_fifty_rules_are_compared(db):
    starter.install()
    rules.install()
    rules.install()
    assert Segment.objects.count() == 30
    assert len(rules.RULES) == len({both.slug for both in rules.RULES}) == 50


def test_the_floor_covers_every_table_that_a_run_fills(champion):
    """A table that scoring starts to write must be written by the floor too."""
    starter.install()
    before = sizes()
    classify()
    filled = {table for table, count in sizes().items() if count > before.get(table, 0)}
    covered = {table for table, _columns, _key in floor.tables().values()}
    once_a_run = {"segmentation_scoringrun", "segmentation_scoringshard", "segmentation_shopcontext"}
    once_a_run |= {"segmentation_featureportrait", "segmentation_auditentry", "segmentation_policyversion"}
    once_a_run |= {"segmentation_customercounts", "segmentation_modelcheck", "workers_queuedmessage"}
    assert filled - once_a_run <= covered
    assert Score._meta.db_table in filled


def test_a_twin_has_the_rows_and_the_keys_of_its_table(champion):
    starter.install()
    classify()
    for model in (Membership, CustomerFeatures):
        assert copies.into_twin(model) > 0
    assert copies.TWIN not in connection.introspection.table_names()


def structure():
    """Names of constraints and indexes of every table that grows."""
    with connection.cursor() as cursor:
        return {
            (table, name)
            for table in growth._tables()
            for name in connection.introspection.get_constraints(cursor, table)
        }


@pytest.mark.django_db(transaction=True)
def test_a_grown_shop_has_copies_its_keys_and_room_for_new_customers():
    for number in range(4):
        buyer = world.customer(f"C{number}")
        world.order(buyer, amount_minor=1000)
        CustomerIdentity.objects.create(customer=buyer, namespace="shop", value=buyer.reference)
        contacts.write(buyer, contacts.Contact(email=f"c{number}@example.com"))
    before = structure()
    with growth.indexed_later():
        growth.grow(11)
    assert structure() == before
    assert Customer.objects.count() == CustomerIdentity.objects.count() == ContactData.objects.count() == 11
    assert Event.objects.count() == 11
    assert set(Event.objects.values_list("customer_id", flat=True)) == set(
        Customer.objects.values_list("pk", flat=True)
    )
    assert world.customer().pk > Customer.objects.get(reference="C2-2").pk


def sizes():
    counted = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT count(*) FROM "{table}"')
            counted[table] = cursor.fetchone()[0]
    return counted


def test_deciding_from_what_is_stored_comes_to_what_a_run_decides(champion):
    starter.install()
    rules.install()
    campaigns.install(30)
    # The same whatever the hour of the test.
    Campaign.objects.update(hours_from=None, hours_to=None)
    classify()
    by_run = decided()
    assert len({verdicts for *_who, verdicts in by_run}) > 3
    for model in (Decision, InputSnapshot, Grant, ServicePriority):
        model.objects.all().delete()
    Usage.objects.update(given=0, spent_minor=0)
    everybody = [ids for part in stored_frames.chunks() for ids in part]
    assert decision_worker.decide(everybody) == len(everybody)
    assert decided() == by_run


def decided():
    rows = Decision.objects.order_by("customer").values_list(
        "customer", "campaign", "offer", "priority", "verdicts"
    )
    return [(*row[:-1], bytes(row[-1])) for row in rows]
