"""A golden customer for every policy: triggers, re-entry, caps, hours, stacking, limits, budgets, choices."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import numpy as np
import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from segmentation import campaigns, identities
from segmentation.decisions import choice, decide, hours, replay
from segmentation.decisions.terms import CampaignTerms
from segmentation.models import (
    Campaign,
    Customer,
    DecideAgain,
    Decision,
    Event,
    EventSource,
    FrequencyCap,
    Grant,
    HoldoutGroup,
    Membership,
    OfferCode,
    PastMembership,
    PriorityReview,
    Shop,
    Suppression,
    Usage,
)
from tests.segmentation.decisions import shop
from tests.segmentation.decisions.shop import (
    AS_OF,
    FREQUENT,
    LEAVING,
    campaign,
    offer,
    run,
    segment,
    verdicts,
)

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
EVENT = Decision.Cause.EVENT


def later(days: int, version: int, **row):
    """Decide the usual customer so many days later."""
    return run(
        {"orders": 4, "version": version, **row},
        as_of=AS_OF + timedelta(days=days),
        at=NOON + timedelta(days=days),
    )


def open_grants(customer: int = 1) -> list[str]:
    rows = Grant.objects.filter(customer=customer, ended_at=None).order_by("pk")
    return list(rows.values_list("offer__slug", flat=True))


# --- what starts a campaign
def test_nothing_starts_a_campaign_that_waits_for_an_event():
    campaign("c", (FREQUENT, offer("a")), trigger="event", trigger_event=6)
    later(0, 1)
    assert verdicts() == ["NOT_TRIGGERED"]


def happened(kind: int, at: datetime, key: str, customer: int = 1) -> None:
    source, _ = EventSource.objects.get_or_create(slug="t")
    Event.objects.create(
        customer_id=customer, kind=kind, occurred_at=at, received_at=at, source=source, source_key=key
    )


def test_an_event_starts_it_once_and_it_stays_while_valid():
    campaign("c", (FREQUENT, offer("a", valid_days=3)), trigger="event", trigger_event=6)
    happened(6, NOON - timedelta(hours=1), "cart")
    [decided] = later(0, 1)
    assert decided.offer == "a"
    assert later(2, 2) == []
    [decided] = later(4, 3)
    assert (decided.offer, verdicts()) == (None, ["NOT_TRIGGERED"])


def test_two_carts_are_two_entries_where_each_trigger_gives_it_anew():
    campaign("c", (FREQUENT, offer("a")), trigger="event", trigger_event=6, re_entry="event")
    happened(6, NOON - timedelta(hours=1), "first cart")
    later(0, 1)
    later(0, 2)
    assert Grant.objects.count() == 1
    happened(6, NOON + timedelta(hours=20), "second cart")
    [decided] = later(1, 3)
    assert (decided.offer, Grant.objects.count(), len(open_grants())) == ("a", 2, 1)


def test_entering_a_segment_starts_it_and_having_been_in_for_long_does_not():
    watched = segment("watched", FREQUENT)
    campaign("c", (FREQUENT, offer("a")), trigger="segment_entry", trigger_segment=watched)
    run({}, {})
    Membership.objects.create(
        segment=watched, customer_id=1, entered_at=NOON - timedelta(hours=2), entered_by=2
    )
    Membership.objects.create(
        segment=watched, customer_id=2, entered_at=NOON - timedelta(days=9), entered_by=2
    )
    run({"orders": 4, "version": 2}, {"orders": 4, "version": 2}, at=NOON)
    assert (verdicts(1), verdicts(2)) == (["WON"], ["NOT_TRIGGERED"])


def test_leaving_a_segment_starts_it():
    watched = segment("watched", FREQUENT)
    campaign("c", (LEAVING, offer("a")), trigger="segment_exit", trigger_segment=watched)
    run({})
    PastMembership.objects.create(
        segment=watched, customer_id=1, entered_at=NOON - timedelta(days=30), entered_by=2,
        left_at=NOON - timedelta(hours=2), left_by=2,
    )  # fmt: skip
    run({"churn": 0.8, "version": 2}, at=NOON)
    assert verdicts() == ["WON"]


def test_a_campaign_of_the_batch_is_not_given_by_an_event():
    campaign("c", (FREQUENT, offer("a")), trigger="batch")
    run({"orders": 4}, at=NOON, cause=EVENT)
    assert verdicts() == ["NOT_TRIGGERED"]
    run({"orders": 4, "version": 2}, at=NOON)
    assert verdicts() == ["WON"]
    assert run({"orders": 4, "version": 3}, at=NOON, cause=EVENT) == []


@pytest.mark.parametrize(
    ("days", "given"),
    [({"schedule_weekdays": [5]}, True), ({"schedule_weekdays": [6]}, False), ({"schedule_month_day": 1}, True),
     ({"schedule_month_day": 31}, False)],
)  # fmt: skip
def test_a_schedule_gives_on_its_days(days, given):
    # 1 June 2024 is a Saturday.
    campaign("c", (FREQUENT, offer("a")), trigger="schedule", **days)
    later(0, 1)
    assert verdicts() == ["WON" if given else "NOT_TRIGGERED"]


# --- coming again
def test_a_campaign_that_comes_once_never_comes_again():
    campaign("c", (FREQUENT, offer("a", valid_days=2)), re_entry="never")
    assert later(0, 1)[0].offer == "a"
    assert later(3, 2)[0].offer is None
    assert verdicts() == ["RE_ENTRY_WAIT"]
    later(900, 3)
    assert verdicts() == ["RE_ENTRY_WAIT"]


def test_a_campaign_that_comes_once_stays_beside_one_that_comes_first_later():
    campaign("once", (FREQUENT, offer("a")), re_entry="never", stacks=True, priority=1)
    later(0, 1)
    campaign("first", (FREQUENT, offer("b")), stacks=True, priority=2)
    later(1, 2)
    assert verdicts() == ["WON", "BESIDE"]
    later(2, 3)
    assert verdicts() == ["WON", "BESIDE"]
    assert open_grants() == ["a", "b"]


def test_what_somebody_had_before_a_merge_counts_afterwards():
    campaign("c", (FREQUENT, offer("a", valid_days=2)), re_entry="never")
    campaign("d", (FREQUENT, offer("b", valid_days=2, limit_per_customer=1)))
    later(0, 1)
    run({}, {"orders": 1}, at=NOON)
    Customer.objects.filter(pk=1).update(merged_into=2)
    frame = shop.frame({}, {"orders": 4, "version": 5}).filter(customer_id=2)
    decide(frame, as_of=AS_OF + timedelta(days=9), cause=1, at=NOON + timedelta(days=9))
    assert verdicts(2)[0] == "RE_ENTRY_WAIT"


def test_a_customer_gets_an_offer_as_often_as_they_may():
    campaign("c", (FREQUENT, offer("a", valid_days=1, limit_per_customer=2)))
    assert [len(later(day, day + 1)) for day in (0, 2)] == [1, 1]
    later(4, 9)
    assert (verdicts(), Grant.objects.count()) == (["CUSTOMER_LIMIT"], 2)


@pytest.mark.parametrize(
    ("on_lost", "verdict", "gets"), [("drop", "RULE_FALSE", None), ("keep", "KEPT", "a")]
)
def test_who_no_longer_fits_loses_or_keeps_the_offer(on_lost, verdict, gets):
    campaign("c", (FREQUENT, offer("a", valid_days=5)), on_lost=on_lost)
    later(0, 1)
    later(1, 2, orders=1)
    assert (verdicts(), Customer.objects.get(pk=1).current_offer_id is not None) == (
        [verdict],
        gets is not None,
    )
    later(7, 3, orders=1)
    assert verdicts() == ["RULE_FALSE"]


# --- several campaigns
def test_under_a_cap_of_two_the_lowest_of_three_loses():
    FrequencyCap.objects.create(name="Two a week", most=2, days=7)
    for number in range(3):
        campaign(f"c{number}", (FREQUENT, offer(f"o{number}")), priority=9 - number, stacks=True)
    later(0, 1)
    assert verdicts() == ["WON", "BESIDE", "CAPPED"]
    assert open_grants() == ["o0", "o1"]


def test_a_cap_counts_its_channel_and_leaves_service_alone():
    FrequencyCap.objects.create(name="One text", channel="sms", most=1, days=7)
    for number, fields in enumerate(({"channel": "sms"}, {"channel": "sms"}, {"channel": "email"})):
        campaign(f"c{number}", (FREQUENT, offer(f"o{number}")), priority=9 - number, stacks=True, **fields)
    campaign("care", (FREQUENT, offer("care")), channel="sms", stacks=True, ignores_caps=True, priority=-1)
    later(0, 1)
    assert verdicts() == ["WON", "CAPPED", "BESIDE", "BESIDE"]


@pytest.mark.parametrize(("day", "verdict"), [(6, "CAPPED"), (7, "WON")])
def test_a_cap_of_seven_days_ends_on_the_eighth(day, verdict):
    FrequencyCap.objects.create(name="One a week", most=1, days=7)
    campaign("c", (FREQUENT, offer("a", valid_days=1)))
    later(0, 1)
    later(day, 2)
    assert verdicts() == [verdict]


def test_a_caps_days_are_those_of_the_customers_calendar():
    """22:30 in London is the next day in Sydney: an offer of that evening is not of yesterday's date there."""
    Customer.objects.create(pk=1, reference="c1", time_zone="Australia/Sydney")
    FrequencyCap.objects.create(name="One a day", most=1, days=1)
    campaign(
        "c",
        (FREQUENT, offer("a", valid_days=1, limit_per_customer=9)),
        trigger="event",
        trigger_event=6,
        re_entry="event",
    )
    evening = datetime(2024, 6, 1, 22, 30, tzinfo=UTC)
    happened(6, evening - timedelta(minutes=5), "1")
    run({"orders": 4}, at=evening)
    happened(6, evening + timedelta(hours=10), "2")
    next_morning = evening + timedelta(hours=11)
    run({"orders": 4, "version": 2}, as_of=AS_OF + timedelta(days=1), at=next_morning)
    assert Grant.objects.count() == 1


def test_a_group_gives_one_and_others_stack():
    campaign("a", (FREQUENT, offer("a")), priority=3, stacks=True, exclusive_group="spring")
    campaign("b", (FREQUENT, offer("b")), priority=2, stacks=True, exclusive_group="spring")
    campaign("c", (FREQUENT, offer("c")), priority=1, stacks=True)
    campaign("d", (FREQUENT, offer("d")))
    later(0, 1)
    assert verdicts() == ["WON", "EXCLUDED", "BESIDE", "OUTRANKED"]


# --- hours
def test_at_half_past_eleven_it_waits_for_the_next_morning_of_the_customer():
    Customer.objects.create(pk=1, reference="c1", time_zone="America/New_York")
    campaign("c", (FREQUENT, offer("a")), hours_from=time(8), hours_to=time(20))
    run({"orders": 4}, at=datetime(2024, 6, 1, 3, 30, tzinfo=UTC))  # 23:30 on the day before
    assert verdicts() == ["OUTSIDE_HOURS"]
    assert DecideAgain.objects.get().at == datetime(2024, 6, 1, 12, tzinfo=UTC)
    run({"orders": 4, "version": 2}, at=datetime(2024, 6, 1, 12, tzinfo=UTC))
    assert verdicts() == ["WON"]
    assert run({"orders": 4, "version": 3}, at=datetime(2024, 6, 1, 23, 59, tzinfo=UTC), cause=EVENT) == []


WINDOW = CampaignTerms(
    1, "c", "C", None, needs_consent=False, re_entry_days=None, hours=(time(2, 30), time(6))
)


@pytest.mark.parametrize(
    ("evening", "opens"),
    [
        # Clocks go forward at 01:00 UTC: 02:30 does not exist in Berlin, 03:30 takes its place.
        (datetime(2024, 3, 30, 22, tzinfo=UTC), datetime(2024, 3, 31, 1, 30, tzinfo=UTC)),
        # Clocks go back: the first of the two 02:30.
        (datetime(2024, 10, 26, 22, tzinfo=UTC), datetime(2024, 10, 27, 0, 30, tzinfo=UTC)),
    ],
)
def test_hours_across_a_clock_change(evening, opens):
    assert hours.next_opening(WINDOW, evening.astimezone(hours.zone("Europe/Berlin", "UTC"))) == opens


def test_business_time_skips_nights_and_weekends():
    ours = Shop(time_zone="Europe/London")
    friday = datetime(2024, 6, 7, 15, 30, tzinfo=UTC)  # 16:30 there
    assert hours.add_business_time(friday, 60, ours) == datetime(2024, 6, 10, 8, 30, tzinfo=UTC)


# --- suppression and consent come before everything
def test_the_suppressed_get_nothing_whatever_they_agreed_to():
    campaign("c", (FREQUENT, offer("a")))
    run({"orders": 4}, {"orders": 4}, at=NOON)
    Suppression.objects.create(customer_id=1, reason="asked us")
    Suppression.objects.create(customer_id=2, reason="phone only", channel="phone")
    run({"orders": 4, "version": 2}, {"orders": 4, "version": 2}, at=NOON)
    assert (verdicts(1), verdicts(2)) == (["SUPPRESSED"], ["WON"])


# --- limits
def crowd(size: int = 5, version: int = 1) -> list[dict]:
    return [{"orders": 4, "version": version}] * size


def test_an_offer_is_given_as_often_as_it_may_be_and_the_next_campaign_gets_the_others():
    campaign("c", (FREQUENT, offer("a", limit_total=2)), priority=2)
    campaign("d", (FREQUENT, offer("b")))
    run(*crowd(), at=NOON)
    assert [verdicts(n) for n in (2, 3)] == [["WON", "OUTRANKED"], ["OFFER_GONE", "WON"]]
    assert (Usage.objects.get().given, Grant.objects.count()) == (2, 2)
    run(*crowd(version=2), at=NOON)
    assert Usage.objects.get().given == 2


def test_a_limit_in_money_and_a_budget_hold():
    campaign("c", (FREQUENT, offer("a", cost_minor=400, limit_money_minor=900)), priority=2)
    campaign("d", (FREQUENT, offer("b", cost_minor=500)), budget_minor=500)
    run(*crowd(), at=NOON)
    assert [verdicts(n) for n in (1, 3, 4)] == [
        ["WON", "OUTRANKED"], ["OFFER_GONE", "WON"], ["OFFER_GONE", "BUDGET_GONE"],
    ]  # fmt: skip
    assert sorted(Usage.objects.values_list("spent_minor", flat=True)) == [500, 800]


def test_every_customer_has_a_code_of_their_own_until_none_is_left():
    pool = offer("a", codes="pool")
    OfferCode.objects.bulk_create(OfferCode(offer=pool, code=f"X{n}") for n in range(3))
    campaign("c", (FREQUENT, pool))
    run(*crowd(), at=NOON)
    assert list(Grant.objects.order_by("pk").values_list("code", flat=True)) == ["X0", "X1", "X2"]
    assert verdicts(4) == ["NO_CODE"]
    given = dict(Grant.objects.values_list("pk", "code"))
    assert [given[code.grant_number] for code in OfferCode.objects.order_by("pk")] == ["X0", "X1", "X2"]


def test_the_database_itself_refuses_to_exceed_a_limit():
    row = Usage.objects.create(offer=offer("a"), most=2)
    with pytest.raises(IntegrityError, match="given_stays_within_limit"), transaction.atomic():
        Usage.objects.filter(pk=row.pk).update(given=3)


def test_an_offer_is_given_within_its_dates():
    campaign("c", (FREQUENT, offer("a", starts_on=AS_OF)))
    later(0, 1)
    assert verdicts() == ["OFFER_NOT_NOW"]
    later(1, 2)
    assert verdicts() == ["WON"]


# --- choices
def valued(made: Campaign, *worths: dict) -> Campaign:
    for rule, worth in zip(made.rules.order_by("position"), worths, strict=True):
        made.rules.filter(pk=rule.pk).update(**worth)
    return made


def test_the_rule_with_the_highest_expected_gain_is_chosen():
    # 0.2 · 1000 − 100 = 100; churn · 1000 − 300 = 500 for a churn of 0.8, −200 for 0.1.
    valued(
        campaign(
            "c",
            (FREQUENT, offer("a", cost_minor=100)),
            (FREQUENT, offer("b", cost_minor=300)),
            choice="order",
        ),
        {"uplift": 0.2, "margin_minor": 1000},
        {"uplift_field": "score.churn", "margin_minor": 1000},
    )
    Campaign.objects.update(choice="value")
    run({"orders": 4, "churn": 0.8}, {"orders": 4, "churn": 0.1}, at=NOON)
    assert (verdicts(1), verdicts(2)) == (["NOT_CHOSEN", "WON"], ["WON", "NOT_WORTH"])


def test_a_budget_goes_where_it_does_most_for_the_money():
    valued(
        campaign("c", (FREQUENT, offer("a", cost_minor=100)), budget_minor=200),
        {"uplift_field": "score.churn", "margin_minor": 1000},
    )
    Campaign.objects.update(choice="value")
    run(*({"orders": 4, "churn": churn} for churn in (0.3, 0.9, 0.2, 0.8)), at=NOON)
    assert [verdicts(n) for n in (1, 2, 3, 4)] == [["BUDGET_GONE"], ["WON"], ["BUDGET_GONE"], ["WON"]]
    Campaign.objects.update(floor_ratio=5.0, budget_minor=900)
    campaigns.sync_limits(Campaign.objects.get())
    run(*({"orders": 4, "churn": churn, "version": 2} for churn in (0.3, 0.9, 0.6, 0.8)), at=NOON)
    assert [verdicts(n) for n in (1, 3)] == [["BELOW_FLOOR"], ["WON"]]


def test_a_draw_follows_the_results_keeps_its_choice_and_writes_its_chance_down():
    made = campaign("c", (FREQUENT, offer("a")), (FREQUENT, offer("b")))
    valued(made, {"tried": 100, "succeeded": 5}, {"tried": 100, "succeeded": 9})
    Campaign.objects.update(choice="sampling")
    run(*crowd(200), at=NOON)
    shares = choice.chances_of(((100, 5), (100, 9)))
    given = {slug: Grant.objects.filter(offer__slug=slug) for slug in "ab"}
    assert {round(p, 6) for p in given["a"].values_list("propensity", flat=True)} == {round(shares[0], 6)}
    assert abs(given["b"].count() / 200 - shares[1]) < 0.12
    before = dict(Grant.objects.values_list("customer_id", "offer__slug"))
    run(*crowd(200, version=2), as_of=AS_OF + timedelta(days=1), at=NOON + timedelta(days=1))
    assert dict(Grant.objects.values_list("customer_id", "offer__slug")) == before


def test_chances_are_those_of_being_best():
    """Against a simulation of a million draws from the same beliefs."""
    records = ((50, 10), (40, 4), (5, 1))
    rng = np.random.default_rng(1)
    draws = np.column_stack([rng.beta(1 + s, 1 + n - s, 1_000_000) for n, s in records])
    seen = np.bincount(draws.argmax(axis=1), minlength=3) / 1_000_000
    floored = np.maximum(seen, choice.LEAST_SHARE)
    assert np.allclose(choice.chances_of(records), floored / floored.sum(), atol=0.003)


# --- replay
def test_decisions_replay_to_the_same_verdicts():
    FrequencyCap.objects.create(name="One", most=1, days=7)
    campaign("a", (FREQUENT, offer("a", limit_total=1)), priority=5, stacks=True)
    campaign("b", (FREQUENT, offer("b")), priority=4, stacks=True, holdout_percent=50)
    # A salt that holds some of the few out and others not.
    HoldoutGroup.objects.update(salt="even")
    campaign("c", (LEAVING, offer("c")), priority=3, hours_from=time(8), hours_to=time(9))
    campaign("d", ({"field": "customer.country", "op": "is", "value": "France"}, offer("d")), trigger="batch")
    Suppression.objects.create(
        customer=Customer.objects.create(pk=1, reference="c1"), reason="x", channel="sms"
    )
    run(*crowd(8), {"churn": 0.9}, at=NOON)
    rows = Decision.objects.select_related("customer", "policy", "snapshot")
    assert len({bytes(row.verdicts) for row in rows}) > 3
    for row in rows:
        assert replay(row) == bytes(row.verdicts)


def test_a_policy_without_counting_reads_and_writes_nothing_of_it():
    campaign("c", (FREQUENT, offer("a")))
    run({"orders": 4}, at=NOON)
    with CaptureQueriesContext(connection) as asked:
        run({"orders": 5, "version": 2}, at=NOON)
    tables = {model._meta.db_table for model in (Grant, Usage, PriorityReview, OfferCode)}
    # All that is in force is asked with one query, which also tells whether there are any grants at all.
    others = [query["sql"] for query in asked if "'granted'" not in query["sql"]]
    assert not [sql for sql in others if any(f'"{table}"' in sql for table in tables)]


# --- campaigns that end, edits meanwhile
def test_a_campaign_that_ends_in_the_middle_of_a_run_gives_nothing_more_and_closes_what_it_gave():
    made = campaign("c", (FREQUENT, offer("a", limit_total=9)))
    run({"orders": 4}, at=NOON)
    assert open_grants() == ["a"]
    campaigns.move(made, Campaign.Status.ENDED)
    # The next chunk of the same run: nothing that counts is left in the policy.
    run({"orders": 4, "version": 2}, {"orders": 4, "version": 2}, at=NOON)
    assert (open_grants(1), open_grants(2), Grant.objects.count()) == ([], [], 1)


def test_what_a_merged_id_was_given_stays_with_the_person():
    pool = offer("a", codes="pool")
    OfferCode.objects.bulk_create(OfferCode(offer=pool, code=f"X{n}") for n in range(3))
    campaign("c", (FREQUENT, pool))
    run({"orders": 4}, {"orders": 1}, at=NOON)
    identities.merge(Customer.objects.get(pk=2), Customer.objects.get(pk=1))
    frame = shop.frame({}, {"orders": 4, "version": 9}).filter(customer_id=2)
    decide(frame, as_of=AS_OF, cause=EVENT, at=NOON)
    assert (verdicts(2), Grant.objects.count(), OfferCode.objects.filter(is_used=True).count()) == (
        ["WON"],
        1,
        1,
    )


def test_two_who_both_have_it_have_it_once_when_they_are_merged_for_as_long_as_either():
    campaign("c", (FREQUENT, offer("a", valid_days=5, limit_total=9)))
    run({"orders": 4}, at=NOON)
    run(
        {"orders": 4, "version": 2},
        {"orders": 4},
        as_of=AS_OF + timedelta(days=1),
        at=NOON + timedelta(days=1),
    )
    identities.merge(Customer.objects.get(pk=1), Customer.objects.get(pk=2))
    later(2, 9)
    kept = Grant.objects.get(ended_at=None)
    assert (verdicts(), kept.customer_id, kept.valid_until) == (["WON"], 2, shop.TODAY + timedelta(days=6))


def test_what_only_a_late_worker_would_still_give_is_not_given():
    """The policy that a worker holds says 5, the row says 2 by now: the row counts."""
    made = campaign("c", (FREQUENT, offer("a", limit_total=5)))
    Usage.objects.update(most=2)
    run(*crowd(), at=NOON)
    assert Grant.objects.filter(campaign=made).count() == 2
