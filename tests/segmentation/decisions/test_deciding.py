"""What is written: only what changed, once, with enough beside it to say why."""

from __future__ import annotations

import pytest
from django.db import connection

from segmentation import bulk, holdouts
from segmentation.decisions import explain, snapshots
from segmentation.models import (
    Customer,
    Decision,
    InputSnapshot,
    Offer,
    PolicyVersion,
    Segment,
    ServicePriority,
)
from segmentation.models.customers import PriorityLevel
from tests.segmentation.decisions.shop import FREQUENT, LEAVING, campaign, offer, priority, run, segment


def test_a_first_decision_is_written_for_everybody_and_a_second_run_adds_nothing():
    campaign("c", (FREQUENT, offer("a")))
    first = run({"orders": 4}, {})
    assert [(row.is_first, row.offer_changed) for row in first] == [(True, True), (True, False)]
    assert run({"orders": 4}, {}) == []
    assert run({"orders": 5, "version": 2}, {"version": 2}) == []
    assert (Decision.objects.count(), InputSnapshot.objects.count(), PolicyVersion.objects.count()) == (
        2,
        2,
        1,
    )


def test_a_decision_names_its_customer_its_winner_and_what_changed():
    campaign("c", (FREQUENT, offer("a")))
    priority(1, LEAVING, PriorityLevel.URGENT)
    run({"orders": 4})
    [decided] = run({"orders": 4, "churn": 0.8, "version": 2})
    assert (decided.reference, decided.offer, decided.campaign, decided.priority) == ("c1", "a", "c", 4)
    assert (decided.offer_changed, decided.priority_changed, decided.is_first) == (False, True, False)
    row = Decision.objects.get(pk=decided.decision_id)
    assert (row.input_version, row.offer.slug, row.campaign.slug, row.priority) == (2, "a", "c", 4)


def test_a_changed_verdict_is_a_new_decision_even_with_the_same_winner():
    campaign("c", (FREQUENT, offer("a")), priority=2)
    campaign("d", (LEAVING, offer("b")))
    run({"orders": 4})
    [decided] = run({"orders": 4, "churn": 0.8, "version": 2})
    assert decided.offer == "a"
    assert not decided.offer_changed


def test_a_new_policy_with_the_same_verdicts_writes_nothing_and_a_new_campaign_does():
    made = campaign("c", (FREQUENT, offer("a")))
    run({"orders": 4}, {})
    made.rules.update(name="Another name")
    assert run({"orders": 4, "version": 2}, {"version": 2}) == []
    assert PolicyVersion.objects.count() == 2
    campaign("d", (LEAVING, offer("b")))
    assert len(run({"orders": 4, "version": 3}, {"version": 3})) == 2


def test_a_campaign_that_ends_changes_only_those_who_had_it():
    made = campaign("c", (FREQUENT, offer("a")))
    campaign("d", (LEAVING, offer("b")), priority=-1)
    run({"orders": 4}, {})
    made.status = made.Status.ENDED
    made.save()
    [decided] = run({"orders": 4, "version": 2}, {"version": 2})
    assert (decided.customer_id, decided.offer, decided.offer_changed) == (1, None, True)


def test_the_same_inputs_under_the_same_policy_are_decided_once():
    campaign("c", (FREQUENT, offer("a")))
    run({"orders": 4})
    Offer.objects.update(is_active=False)
    [decided] = run({"orders": 4})
    Offer.objects.update(is_active=True)
    assert decided.offer is None
    assert run({"orders": 4}) == []
    assert Customer.objects.get(pk=1).current_offer.slug == "a"


def test_headlines_and_priorities_follow_and_normal_has_no_row():
    campaign("c", (FREQUENT, offer("a")))
    rule = priority(1, LEAVING, PriorityLevel.HIGH)
    run({"orders": 4, "churn": 0.8})
    row = ServicePriority.objects.get(pk=1)
    assert (row.level, row.rule, row.customer.priority) == (PriorityLevel.HIGH, rule, PriorityLevel.HIGH)
    run({"orders": 5, "churn": 0.9, "version": 2})
    assert ServicePriority.objects.get(pk=1).since == row.since
    run({"orders": 1, "version": 3})
    customer = Customer.objects.get(pk=1)
    assert (customer.current_offer, customer.priority) == (None, PriorityLevel.NORMAL)
    assert not ServicePriority.objects.exists()


def test_a_snapshot_holds_what_the_rules_asked_and_gains_what_a_new_policy_asks():
    campaign("c", (FREQUENT, offer("a")))
    run({"orders": 4})
    before = snapshots.read(InputSnapshot.objects.get())
    assert before == {
        "feature.orders_90d": 4.0,
        "consent.marketing": "granted",
        "customer.is_profiled": True,
    }
    campaign("d", (LEAVING, offer("b")))
    run({"orders": 4})
    after = InputSnapshot.objects.get()
    assert snapshots.read(after) == before | {"score.churn": 0.1}
    assert set(Decision.objects.values_list("snapshot_id", flat=True)) == {after.pk}


def test_a_decision_is_a_small_row():
    for number in range(20):
        campaign(f"c{number}", (FREQUENT, offer(f"o{number}")))
    run({"orders": 4})
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {Decision._meta.db_table}")
        row = cursor.fetchone()
    assert (
        sum(
            len(str(value)) if not isinstance(value, bytes | memoryview) else len(bytes(value))
            for value in row
        )
        < 300
    )
    assert len(bytes(Decision.objects.get().verdicts)) == 20


def test_explanations_say_the_verdicts_of_the_run_with_the_values_that_settled_them():
    frequent = segment("frequent", FREQUENT)
    campaign("first", (frequent, offer("a")), priority=2)
    campaign("second", (LEAVING, offer("b")))
    priority(1, {"any": [LEAVING, {"field": "segment.frequent", "op": "in"}]}, PriorityLevel.HIGH)
    run({"orders": 1, "churn": 0.72})
    explained = explain(Decision.objects.get())
    first, second = explained.offers
    assert first.sentence == "Does not fit."
    assert first.reasons == ("Not in segment “Frequent”", "Orders in 90 days is 1, needs at least 3")
    assert second.sentence == "Fits and comes first: gets “B”."
    assert second.reasons == ("Chance to stop buying is 72 %",)
    assert explained.summary == (
        "Gets “B” from the campaign “Second”.",
        "Service priority High by the rule “Rule 1”.",
    )
    assert explained.priorities[0].reasons == ("Chance to stop buying is 72 %",)


def test_an_explanation_stays_the_same_when_everything_has_changed_since():
    frequent = segment("frequent", FREQUENT)
    made = campaign("c", (frequent, offer("a")))
    run({"orders": 4})
    before = explain(Decision.objects.get())
    made.rules.all().delete()
    made.name = "Renamed"
    made.save()
    Segment.objects.update(version=None)
    Segment.objects.all().delete()
    Customer.objects.update(country="Nowhere")
    assert explain(Decision.objects.get()) == before
    assert before.offers[0].reasons == ("In segment “Frequent”", "Orders in 90 days is 4")


def test_stored_verdicts_and_rebuilt_rules_agree_for_a_crowd():
    leaving = segment("leaving", LEAVING)
    campaign("c", (leaving, offer("a")), ({"none": [LEAVING, FREQUENT]}, offer("b")), priority=2)
    campaign("d", ({"any": [FREQUENT, {"field": "segment.leaving", "op": "not_in"}]}, offer("c")))
    holdouts.set_global(30)
    rows = [
        {"orders": orders, "churn": churn, "profiled": profiled, "consent": consent}
        for orders in (None, 1, 4)
        for churn in (None, 0.1, 0.9)
        for profiled in (True, False)
        for consent in ("granted", "denied")
    ]
    run(*rows)
    fitting = {"WON", "OUTRANKED", "OFFER_INACTIVE", "NO_CONSENT", "HELD_OUT_GLOBAL", "HELD_OUT_CAMPAIGN"}
    for decision in Decision.objects.all():
        for candidate in explain(decision).offers:
            if candidate.verdict.name != "NOT_PROFILED":
                assert candidate.rule.holds is (candidate.verdict.name in fitting)


def test_a_frame_of_no_customers_decides_nothing():
    assert run() == []


@pytest.mark.parametrize("size", [2, bulk.COPY_FROM + 2])
def test_a_large_frame_is_written_like_a_small_one(size):
    campaign("c", (FREQUENT, offer("a")))
    priority(1, LEAVING, PriorityLevel.HIGH)
    decided = run(*({"orders": 4 * (n % 2), "churn": n % 2} for n in range(size)))
    assert len(decided) == Decision.objects.count() == size
    assert Customer.objects.filter(current_offer__slug="a").count() == size // 2
    assert ServicePriority.objects.count() == size // 2
