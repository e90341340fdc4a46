"""A draft on past days: features as they were then, what came of it, and its limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError

from segmentation import policy_backtests, targets
from segmentation.dashboard import backtest_page
from segmentation.models import Customer, LeaseState, PolicyBacktest, ServicePriorityRule, Shop
from tests.segmentation.admin import world
from tests.support import mini_shop
from tests.support.mini_shop import TODAY

pytestmark = pytest.mark.django_db
OFTEN = {"field": "feature.orders_lifetime", "op": ">=", "value": 4}
ASKED = {"event": {"kind": ["order_placed"], "within_days": 500}, "op": ">=", "value": 1}
DAY = TODAY - timedelta(days=90)


@pytest.fixture(autouse=True)
def _shop(db):
    targets.install()
    mini_shop.build(50)


def tried(thing, *days) -> dict:
    row = policy_backtests.request(thing, days or [DAY])
    policy_backtests.work(row.pk)
    row.refresh_from_db()
    assert row.state == LeaseState.DONE, row.error
    return row.result


def campaign(**fields):
    fields = {"needs_marketing_consent": False, **fields}
    return world.campaign(world.segment("Often", rule=OFTEN), world.offer(), **fields)


def test_a_campaign_is_tried_with_what_was_known_then():
    made = campaign(priority=1)
    gives = made.rules.get().offer
    gives.cost_minor = 300
    gives.save()
    other = campaign(priority=5, status="running")
    found = tried(made, DAY, TODAY - timedelta(days=10))["days"]
    early, late = found[DAY.isoformat()], found[(TODAY - timedelta(days=10)).isoformat()]
    assert early["against"] == {other.name: early["verdicts"]["OUTRANKED"]}
    other.delete()
    found = tried(made)["days"][DAY.isoformat()]
    assert found["reached"] == early["verdicts"]["OUTRANKED"] > 0
    assert found["cost_minor"] == 300 * found["reached"]
    assert late["seen"] >= early["seen"] > 0
    assert found["outcome"]["reached"]["customers"] + found["outcome"]["others"]["customers"] == found["seen"]


def test_what_happens_later_changes_the_outcome_and_nothing_else():
    made = campaign()
    before = tried(made)["days"][DAY.isoformat()]
    for number, customer in enumerate(Customer.objects.order_by("pk")):
        at = datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC) + timedelta(days=5)
        mini_shop.order(customer, at=at, key=f"later-{number}")
    after = tried(made)["days"][DAY.isoformat()]
    assert {**after, "outcome": 0} == {**before, "outcome": 0}
    assert after["outcome"]["reached"]["ordered_share"] == 1.0


def test_the_limits_are_said():
    said = tried(campaign(), TODAY - timedelta(days=3))["limits"]
    assert said == ["selection", "not_over", "no_limits"]


LEAVING = {"field": "score.churn", "op": ">=", "value": 0.6}


def leaving_segment():
    return world.segment("Leaving", rule=LEAVING)


def campaign_beside_one_of_the_leaving():
    world.campaign(leaving_segment(), world.offer(), status="running", needs_marketing_consent=False)
    return campaign()


def rule_before_one_of_the_leaving():
    ServicePriorityRule.objects.create(position=2, name="Leaving", level=4, segment=leaving_segment())
    return ServicePriorityRule.objects.create(position=1, name="Often", level=3, condition=OFTEN)


def rule_of_a_plain_segment():
    whom = world.segment("Often", rule=OFTEN)
    return ServicePriorityRule.objects.create(position=1, name="Often", level=4, segment=whom)


@pytest.mark.parametrize(
    ("made", "predicts"),
    [
        (leaving_segment, True),
        (campaign_beside_one_of_the_leaving, True),
        (rule_before_one_of_the_leaving, True),
        (campaign, False),
        (lambda: world.segment("Often", rule=OFTEN), False),
        (rule_of_a_plain_segment, False),
    ],
)
def test_models_are_spoken_of_where_a_prediction_has_a_say(made, predicts):
    assert ("models_of_today" in tried(made())["limits"]) is predicts


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (campaign, "not the effect of an offer"),
        (lambda: world.segment("Often", rule=OFTEN), "being in the segment"),
        (rule_of_a_plain_segment, "not the effect of the priority"),
    ],
)
def test_what_selection_means_is_said_in_words_that_fit(made, says):
    tried(made())
    first = backtest_page.context(PolicyBacktest.objects.get(), Shop.get())["limits"][0]
    assert says in first


def test_a_segment_and_a_priority_rule_are_tried_too():
    whom = world.segment("Often", rule=OFTEN)
    same = world.segment("The same", rule=OFTEN)
    found = tried(whom)["days"][DAY.isoformat()]
    assert found["beside"] == {same.name: found["reached"]}
    rule = ServicePriorityRule.objects.create(position=1, name="Often", level=4, segment=whom)
    moved = tried(rule)["days"][DAY.isoformat()]
    assert moved["moves"] == {"NORMAL>URGENT": found["reached"]}


@pytest.mark.parametrize(
    ("days", "says"),
    [([], "at least one"), ([TODAY + timedelta(days=9)], "future"), ([DAY - timedelta(n) for n in range(9)], "at most 6")],
)  # fmt: skip
def test_impossible_days_are_refused(days, says):
    with pytest.raises(ValidationError, match=says):
        policy_backtests.request(campaign(), days)
    assert not PolicyBacktest.objects.exists()


def test_a_day_before_anything_is_known_is_refused():
    with pytest.raises(ValidationError, match="first event"):
        policy_backtests.request(campaign(), [DAY - timedelta(days=365_000)])
    assert not PolicyBacktest.objects.exists()


def test_a_priority_rule_whose_column_is_gone_is_refused_in_words():
    condition = {"field": "attribute.gone", "op": "is", "value": True}
    rule = ServicePriorityRule.objects.create(position=1, name="First", level=4, condition=condition)
    with pytest.raises(ValidationError, match="There is no field called"):
        policy_backtests.request(rule, [TODAY - timedelta(days=30)])


def test_a_segment_that_rests_is_tried_as_if_it_were_used():
    whom = world.segment("Often", rule={"all": [OFTEN, ASKED]})
    active = tried(whom)["days"][DAY.isoformat()]
    whom.is_active = False
    whom.save(update_fields=["is_active"])
    resting = tried(whom)["days"][DAY.isoformat()]
    assert resting["reached"] == active["reached"] > 0
