"""A golden customer for every way in which service priorities are set, raised, lowered and ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from segmentation import holdouts, service
from segmentation.decisions import replay
from segmentation.models import Customer, DecideAgain, Decision, PriorityReview, ServicePriority, Shop
from segmentation.models.customers import PriorityLevel
from tests.segmentation.decisions.shop import AS_OF, FREQUENT, LEAVING, priority, run, verdicts

# A Saturday.
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
FRANCE = {"field": "customer.country", "op": "is", "value": "France"}


def level(customer: int = 1) -> str:
    return PriorityLevel(Customer.objects.get(pk=customer).priority).name


def test_a_prediction_never_lowers_service_without_a_person(django_user_model):
    priority(1, LEAVING, PriorityLevel.LOW)
    run({"churn": 0.9}, at=NOON)
    assert (verdicts(), level()) == (["PRIORITY_NEEDS_APPROVAL"], "NORMAL")
    review = PriorityReview.objects.get()
    assert (review.state, review.otherwise) == ("waiting", PriorityLevel.NORMAL)
    run({"churn": 0.9, "version": 2}, at=NOON)
    assert PriorityReview.objects.count() == 1
    ada = django_user_model.objects.create_user("ada")
    service.review(review, approve=True, by=ada, until=NOON + timedelta(days=3), now=NOON)
    run({"churn": 0.9, "version": 3}, at=NOON)
    assert (verdicts(), level()) == (["PRIORITY_SET"], "LOW")
    run({"churn": 0.9, "version": 4}, as_of=AS_OF + timedelta(days=4), at=NOON + timedelta(days=4))
    assert level() == "NORMAL"


def test_a_prediction_that_would_come_before_a_higher_rule_lowers_too():
    priority(1, LEAVING, PriorityLevel.HIGH)
    priority(2, FRANCE, PriorityLevel.URGENT)
    run({"churn": 0.9}, at=NOON)
    assert (verdicts(), level()) == (["PRIORITY_NEEDS_APPROVAL", "PRIORITY_SET"], "URGENT")


def test_a_prediction_may_raise_and_a_plain_rule_may_lower():
    priority(1, LEAVING, PriorityLevel.HIGH)
    priority(2, FREQUENT, PriorityLevel.LOW)
    run({"churn": 0.9}, {"orders": 4}, at=NOON)
    assert (level(1), level(2)) == ("HIGH", "LOW")


def test_nobody_is_served_later_than_promised_not_even_by_hand(django_user_model):
    priority(1, FREQUENT, PriorityLevel.LOW)
    priority(2, FRANCE, PriorityLevel.HIGH, is_promise=True)
    run({"orders": 4}, at=NOON)
    assert (verdicts(), level()) == (["PRIORITY_RAISED", "PRIORITY_SET"], "HIGH")
    ada = django_user_model.objects.create_user("ada")
    customer = Customer.objects.get(pk=1)
    service.override(
        customer, PriorityLevel.LOW, reason="rude", until=NOON + timedelta(days=1), by=ada, now=NOON
    )
    run({"orders": 4, "version": 9}, at=NOON)
    assert level() == "HIGH"
    service.override(
        customer, PriorityLevel.URGENT, reason="press", until=NOON + timedelta(days=1), by=ada, now=NOON
    )
    run({"orders": 4, "version": 19}, at=NOON)
    assert (verdicts(), level()) == (["PRIORITY_OVERRIDDEN", "PRIORITY_AFTER"], "URGENT")
    assert ServicePriority.objects.get().override.reason == "press"


def test_an_override_ends_by_itself_and_needs_a_reason(django_user_model):
    run({}, at=NOON)
    customer, ada = Customer.objects.get(pk=1), django_user_model.objects.create_user("ada")
    with pytest.raises(service.ServiceRefused, match="reason"):
        service.override(
            customer, PriorityLevel.HIGH, reason=" ", until=NOON + timedelta(days=1), by=ada, now=NOON
        )
    with pytest.raises(service.ServiceRefused, match="past"):
        service.override(customer, PriorityLevel.HIGH, reason="x", until=NOON, by=ada, now=NOON)
    service.override(
        customer, PriorityLevel.HIGH, reason="x", until=NOON + timedelta(days=1), by=ada, now=NOON
    )
    run({"version": 5}, at=NOON)
    assert level() == "HIGH"
    assert DecideAgain.objects.get().at == NOON + timedelta(days=1)
    run({"version": 6}, as_of=AS_OF + timedelta(days=1), at=NOON + timedelta(days=1))
    assert (level(), ServicePriority.objects.count()) == ("NORMAL", 0)


def test_a_rule_with_an_end_gives_way_and_starts_anew_after_a_break():
    priority(1, FREQUENT, PriorityLevel.URGENT, expires_days=2)
    priority(2, FRANCE, PriorityLevel.HIGH)

    def on(day: int, version: int, **row) -> str:
        run({"version": version, **row}, as_of=AS_OF + timedelta(days=day), at=NOON + timedelta(days=day))
        return level()

    assert on(0, 1, orders=4) == "URGENT"
    assert on(2, 2, orders=4) == "HIGH"
    assert verdicts() == ["PRIORITY_EXPIRED", "PRIORITY_SET"]
    assert on(9, 3, orders=4) == "HIGH"
    assert on(10, 4, orders=1) == "HIGH"
    assert on(11, 5, orders=4) == "URGENT"


def test_an_answer_is_due_in_business_hours():
    Shop.objects.update_or_create(pk=1, defaults={"time_zone": "Europe/London"})
    priority(1, FREQUENT, PriorityLevel.HIGH, target_minutes=120, owner="Key accounts")
    run({"orders": 4}, at=NOON)
    # Nobody works on Saturday: two hours from Monday nine o'clock there.
    assert ServicePriority.objects.get().respond_by == datetime(2024, 6, 3, 10, tzinfo=UTC)


def test_the_global_holdout_is_served_as_usual_where_a_rule_says_so():
    priority(1, FREQUENT, PriorityLevel.HIGH, respects_holdout=True)
    priority(2, FREQUENT, PriorityLevel.URGENT, is_promise=True).delete()
    holdouts.set_global(50)
    run(*[{"orders": 4}] * 40, at=NOON)
    held = sum(row.startswith("HELD_OUT") for n in range(1, 41) for row in verdicts(n))
    assert 5 < held < 35
    assert ServicePriority.objects.count() == 40 - held


def test_what_an_agent_handled_leaves_the_work_list_until_it_changes(django_user_model):
    priority(1, FREQUENT, PriorityLevel.HIGH)
    priority(2, FRANCE, PriorityLevel.LOW)
    run({"orders": 4}, at=NOON)
    ada = django_user_model.objects.create_user("ada")
    service.handled(ServicePriority.objects.get(), by=ada)
    run({"orders": 5, "version": 2}, at=NOON)
    assert ServicePriority.objects.get().handled_by == ada
    run({"orders": 1, "version": 3}, at=NOON)
    assert ServicePriority.objects.get().handled_at is None


def test_priorities_replay():
    priority(1, LEAVING, PriorityLevel.LOW)
    priority(2, FREQUENT, PriorityLevel.HIGH)
    priority(3, FRANCE, PriorityLevel.HIGH, is_promise=True)
    run({"churn": 0.9}, {"orders": 4}, {"orders": 4, "profiled": False}, at=NOON)
    for row in Decision.objects.select_related("customer", "policy", "snapshot"):
        assert replay(row) == bytes(row.verdicts)


def test_a_persons_word_outlives_a_merge_until_somebody_ends_it(django_user_model):
    ada = django_user_model.objects.create_user("ada")
    run({}, {}, at=NOON)
    other = Customer.objects.get(pk=2)
    service.override(
        other, PriorityLevel.URGENT, reason="VIP", until=NOON + timedelta(days=9), by=ada, now=NOON
    )
    Customer.objects.filter(pk=2).update(merged_into=1)
    run({"version": 2}, at=NOON)
    assert level() == "URGENT"
    one = Customer.objects.get(pk=1)
    assert service.override_of(one, NOON).reason == "VIP"
    service.override(one, PriorityLevel.HIGH, reason="Less", until=NOON + timedelta(days=9), by=ada, now=NOON)
    run({"version": 3}, at=NOON)
    assert service.override_of(one, NOON).reason == "Less"
    assert level() == "HIGH", "what was said of the customer as they are now counts first"
    assert service.end_override(one, by=ada)
    run({"version": 4}, at=NOON)
    assert level() == "NORMAL"
