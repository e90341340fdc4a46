"""A golden customer for every verdict, and who wins."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from segmentation import holdouts
from segmentation.decisions import explain
from segmentation.decisions.verdicts import Verdict
from segmentation.models import (
    Alert,
    AttributeDefinition,
    Campaign,
    Customer,
    Decision,
    HoldoutGroup,
    Offer,
    ServicePriority,
)
from segmentation.models.customers import PriorityLevel
from tests.segmentation.decisions.shop import (
    AS_OF,
    FREQUENT,
    LEAVING,
    campaign,
    offer,
    priority,
    run,
    segment,
)


def verdicts(customer_id: int = 1) -> list[Verdict]:
    decision = Decision.objects.filter(customer_id=customer_id).latest("pk")
    return [Verdict(code) for code in bytes(decision.verdicts)]


def test_the_highest_campaign_wins_and_the_first_fitting_rule_within_it():
    campaign("low", (FREQUENT, offer("a")), priority=1)
    campaign("high", (LEAVING, offer("b")), (FREQUENT, offer("c")), (FREQUENT, offer("d")), priority=5)
    [decided] = run({"orders": 4})
    assert (decided.campaign, decided.offer) == ("high", "c")
    assert verdicts() == [Verdict.RULE_FALSE, Verdict.WON, Verdict.OUTRANKED, Verdict.OUTRANKED]
    assert Customer.objects.get(pk=1).current_offer == offer("c")


def test_segments_and_further_conditions_must_both_hold():
    frequent = segment("frequent", FREQUENT)
    made = campaign("both", (frequent, offer("a")))
    made.rules.update(condition={"field": "customer.country", "op": "is", "value": "France"})
    decided = run({"orders": 4}, {"orders": 4, "customer.country": "Spain"}, {"orders": 1})
    assert [row.offer for row in decided] == ["a", None, None]


def test_an_inactive_offer_is_passed_over_and_the_next_rule_may_win():
    campaign("c", (FREQUENT, offer("off")), (FREQUENT, offer("on")))
    Offer.objects.filter(slug="off").update(is_active=False)
    [decided] = run({"orders": 4})
    assert decided.offer == "on"
    assert verdicts() == [Verdict.OFFER_INACTIVE, Verdict.WON]


def test_consent_is_needed_where_the_campaign_says_so_and_a_refusal_always_counts():
    campaign("asks", (FREQUENT, offer("a")), needs_marketing_consent=True, priority=2)
    campaign("does-not-ask", (FREQUENT, offer("b")))
    decided = run(*({"orders": 4, "consent": answer} for answer in ("granted", "unknown", "denied")))
    assert [row.offer for row in decided] == ["a", "b", None]
    assert verdicts(2) == [Verdict.NO_CONSENT, Verdict.WON]
    assert verdicts(3) == [Verdict.NO_CONSENT, Verdict.NO_CONSENT]


def test_who_is_not_profiled_gets_only_rules_without_predictions():
    leaving = segment("leaving", LEAVING)
    staying = segment("staying", {"none": [{"field": "segment.leaving", "op": "in"}]})
    campaign("c", (leaving, offer("a")), (staying, offer("b")), (LEAVING, offer("c")), (FREQUENT, offer("d")))
    priority(1, LEAVING, PriorityLevel.URGENT)
    [decided] = run({"orders": 4, "churn": 0.9, "profiled": False})
    assert (decided.offer, decided.priority) == ("d", PriorityLevel.NORMAL)
    assert verdicts() == [Verdict.NOT_PROFILED] * 3 + [Verdict.WON, Verdict.NOT_PROFILED]


def test_the_globally_held_out_get_nothing_but_their_service():
    campaign("c", (FREQUENT, offer("a")))
    priority(1, FREQUENT, PriorityLevel.HIGH)
    group = holdouts.set_global(50)
    decided = run(*({"orders": 4} for _ in range(20)))
    out = {row.customer_id for row in decided if row.offer is None}
    assert out == {n for n in range(1, 21) if holdouts.is_held_out(holdouts.Draw.of(group), f"c{n}")}
    assert 0 < len(out) < 20
    assert {tuple(verdicts(key)) for key in out} == {(Verdict.HELD_OUT_GLOBAL, Verdict.PRIORITY_SET)}
    assert {row.priority for row in decided} == {PriorityLevel.HIGH}


def test_the_held_out_of_one_campaign_may_get_the_next():
    campaign("first", (FREQUENT, offer("a")), priority=2, holdout_percent=50)
    campaign("second", (FREQUENT, offer("b")))
    decided = run(*({"orders": 4} for _ in range(20)))
    assert {row.offer for row in decided} == {"a", "b"}
    held = next(row.customer_id for row in decided if row.offer == "b")
    assert verdicts(held) == [Verdict.HELD_OUT_CAMPAIGN, Verdict.WON]


def test_only_those_who_fit_count_as_held_out():
    campaign("c", (FREQUENT, offer("a")))
    HoldoutGroup.objects.create(salt="s", percent=50)
    run(*({"orders": 1} for _ in range(20)))
    assert {tuple(verdicts(n)) for n in range(1, 21)} == {(Verdict.RULE_FALSE,)}


def test_the_first_fitting_priority_rule_sets_the_level():
    priority(1, LEAVING, PriorityLevel.URGENT)
    priority(2, FREQUENT, PriorityLevel.HIGH)
    priority(3, FREQUENT, PriorityLevel.LOW)
    run({"orders": 4}, {"orders": 4, "churn": 0.7}, {})
    assert verdicts(1) == [Verdict.RULE_FALSE, Verdict.PRIORITY_SET, Verdict.PRIORITY_AFTER]
    levels = dict(ServicePriority.objects.values_list("customer_id", "level"))
    assert levels == {1: PriorityLevel.HIGH, 2: PriorityLevel.URGENT}
    assert Customer.objects.get(pk=3).priority == PriorityLevel.NORMAL


def test_a_rule_that_can_no_longer_be_read_fits_nobody_and_raises_one_alert():
    AttributeDefinition.objects.create(slug="vip", label="VIP", kind=AttributeDefinition.Kind.BOOLEAN)
    campaign("c", ({"field": "attribute.vip", "op": "is", "value": True}, offer("a")))
    AttributeDefinition.objects.all().delete()
    run({}, {})
    run({"version": 2}, {"version": 2})
    assert verdicts() == [Verdict.UNREADABLE]
    assert Alert.objects.count() == 1


@pytest.mark.parametrize(
    ("starts", "ends", "status", "runs"),
    [
        (None, None, "running", True),
        (date(2024, 6, 1), date(2024, 6, 1), "running", True),
        (date(2024, 6, 2), None, "running", False),
        (None, date(2024, 5, 31), "running", False),
        (date(2024, 6, 1), None, "scheduled", True),
        (date(2024, 6, 2), None, "scheduled", False),
        (None, None, "paused", False),
        (None, None, "draft", False),
        (None, None, "ended", False),
    ],
)
def test_a_campaign_gives_offers_only_within_its_days_and_while_it_runs(starts, ends, status, runs):
    made = campaign("c", (FREQUENT, offer("a")))
    Campaign.objects.filter(pk=made.pk).update(starts_on=starts, ends_on=ends, status=status)
    [decided] = run({"orders": 4})
    assert decided.offer == ("a" if runs else None)


def days_later(days: int, version: int, **row):
    [decided] = run({"orders": 4, "version": version, **row}, as_of=AS_OF + timedelta(days=days)) or [None]
    return decided


def test_an_offer_stays_while_valid_then_waits_and_then_comes_again():
    campaign("c", (FREQUENT, offer("a", valid_days=10)), re_entry="days", re_entry_days=30)
    assert days_later(0, 1).offer == "a"
    assert days_later(9, 2) is None
    assert days_later(10, 3).offer is None
    assert verdicts() == [Verdict.RE_ENTRY_WAIT]
    # February to March is 28 days here: 29 days after the first time is still too early.
    assert days_later(29, 4) is None
    assert days_later(30, 5).offer == "a"


def test_who_stops_fitting_waits_too():
    campaign("c", (FREQUENT, offer("a", valid_days=10)), re_entry="days", re_entry_days=30)
    days_later(0, 1)
    assert days_later(2, 2, orders=1).offer is None
    assert days_later(4, 3).offer is None
    assert verdicts() == [Verdict.RE_ENTRY_WAIT]
    assert days_later(30, 4).offer == "a"


def test_every_verdict_has_a_sentence():
    campaign("c", (FREQUENT, offer("a")))
    priority(1, FREQUENT, PriorityLevel.HIGH)
    run({"orders": 4})
    decision = Decision.objects.get()
    for code in Verdict:
        on_offer, on_priority = not code.name.startswith("PRIORITY"), code in _ON_PRIORITIES
        decision.verdicts = bytes([code if on_offer else 0, code if on_priority else 0])
        explained = explain(decision)
        for said in [explained.offers[0]] * on_offer + [explained.priorities[0]] * on_priority:
            assert said.sentence
            assert "%(" not in said.sentence


_ON_PRIORITIES = {
    Verdict.RULE_FALSE,
    Verdict.NOT_PROFILED,
    Verdict.UNREADABLE,
    Verdict.PRIORITY_SET,
    Verdict.PRIORITY_AFTER,
    Verdict.PRIORITY_NEEDS_APPROVAL,
    Verdict.PRIORITY_RAISED,
    Verdict.PRIORITY_EXPIRED,
    Verdict.PRIORITY_OVERRIDDEN,
    Verdict.HELD_OUT_GLOBAL,
}
