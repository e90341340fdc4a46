"""What staff set for one customer: rules see it, scoring leaves it, the model's own answer stays beside it."""

from __future__ import annotations

import datetime as dt

import pytest

from segmentation import decisions, identities, overrides, scoring, segments, starter, stored_frames
from segmentation.models import (
    AuditEntry,
    Customer,
    Decision,
    DueCustomer,
    Membership,
    Score,
    ScoreHistory,
    ScoreOverride,
    Segment,
    ServicePriorityRule,
    Target,
)
from segmentation.models.customers import PriorityLevel
from tests.support import mini_shop

TIER = "value_tier"


@pytest.fixture
def scored(shop, champion):
    """Everybody is classified; segments and decisions follow the tier."""
    starter.install()
    made = Segment.objects.create(slug="precious", name="Precious")
    segments.save_rule(made, {"field": "score.value_tier.label", "op": "is", "value": "high"})
    ServicePriorityRule.objects.create(position=0, name="Precious", level=PriorityLevel.URGENT, segment=made)
    score(everybody())
    return Customer.objects.filter(tier="low").first()


def everybody():
    return list(Customer.objects.filter(merged_into=None).order_by("pk").values_list("pk", flat=True))


def score(ids, cause=Decision.Cause.BATCH):
    return scoring.score_customers(ids, scoring.pin(), cause=cause)


def tier():
    return Target.objects.get(slug=TIER)


def put(customer, label="high", **fields):
    return overrides.put(customer, tier(), label, reason="Buys for a hotel.", by=None, **fields)


def is_precious(customer):
    return Membership.objects.filter(customer=customer, segment__slug="precious").exists()


def test_it_is_what_rules_see_and_every_scoring_leaves_it(scored, admin_user):
    before = Score.objects.get(customer=scored, target=tier())
    made = overrides.put(scored, tier(), "high", reason=" Buys for a hotel. ", by=admin_user)
    assert (made.reason, made.set_by) == ("Buys for a hotel.", admin_user)
    assert DueCustomer.objects.get(customer=scored).cause == "override"
    assert scoring.rescore_due() == 1
    for _again in range(2):
        scored.refresh_from_db()
        assert (scored.tier, is_precious(scored)) == ("high", True)
        assert scored.priority == PriorityLevel.URGENT
        own = Score.objects.get(customer=scored, target=tier())
        assert (own.label, own.value) == (before.label, before.value), "the model's own answer stays"
        score(everybody())
    assert set(
        ScoreHistory.objects.filter(customer=scored, target=tier()).values_list("label", flat=True)
    ) == {"low"}, "what a model is judged by later is its own answer"


def test_others_are_not_touched(scored):
    others = Customer.objects.exclude(pk=scored.pk).order_by("pk")
    before = list(others.values_list("pk", "tier", "abstain_reason"))
    put(scored)
    score(everybody())
    assert list(others.values_list("pk", "tier", "abstain_reason")) == before


def test_a_decision_says_that_staff_set_it_and_what_the_model_says(scored):
    put(scored)
    scoring.rescore_due()
    why = decisions.explain(Decision.objects.filter(customer=scored).order_by("pk").last())
    told = " ".join(reason for one in (*why.offers, *why.priorities) for reason in one.reasons)
    assert "(set by staff; the model says “low”)" in told
    other = Decision.objects.exclude(customer=scored).order_by("pk").last()
    why = decisions.explain(other)
    assert "set by staff" not in " ".join(r for one in (*why.offers, *why.priorities) for r in one.reasons)


def test_previews_and_refreshes_from_stored_scores_see_it_too(scored):
    put(scored)
    frame = stored_frames.read(everybody())
    row = frame.filter(frame["customer_id"] == scored.pk).row(0, named=True)
    assert (row["score.value_tier.label"], row["override.value_tier"]) == ("high", "low")
    assert (
        frame.filter(frame["customer_id"] != scored.pk)["override.value_tier"].null_count()
        == frame.height - 1
    )


def test_lifting_gives_the_customer_back_to_the_model_once(scored, admin_user):
    made = put(scored)
    scoring.rescore_due()
    assert overrides.lift(made, by=admin_user)
    assert not overrides.lift(made, by=admin_user)
    scoring.rescore_due()
    scored.refresh_from_db()
    assert (scored.tier, is_precious(scored)) == ("low", False)
    made.refresh_from_db()
    assert (made.ended_by, made.ended_at is not None) == (admin_user, True)
    actions = list(
        AuditEntry.objects.filter(object_type="segmentation.customer")
        .order_by("pk")
        .values_list("action", flat=True)
    )
    assert actions == ["override.set", "override.lifted"]
    assert "hotel" not in str(list(AuditEntry.objects.values_list("detail", flat=True))), (
        "words stay with the person"
    )


def test_it_ends_after_its_last_day(scored):
    made = put(scored, last_day=mini_shop.TODAY)
    assert overrides.end_expired(mini_shop.TODAY) == 0
    assert overrides.end_expired(mini_shop.TODAY + dt.timedelta(days=1)) == 1
    scoring.rescore_due()
    scored.refresh_from_db()
    made.refresh_from_db()
    assert (scored.tier, made.ended_by) == ("low", None)


def test_a_new_one_replaces_the_old_one(scored):
    put(scored)
    put(scored, "middle")
    assert list(overrides.of([scored.pk]).values()) == ["middle"]
    assert ScoreOverride.objects.filter(customer=scored).count() == 2


@pytest.mark.parametrize(
    ("label", "fields", "message"),
    [
        ("gold", {}, "no class"),
        ("high", {"last_day": dt.date(2020, 1, 1)}, "over already"),
    ],
)
def test_what_cannot_be_set_is_refused_with_a_reason(scored, label, fields, message):
    with pytest.raises(overrides.OverrideError, match=message):
        put(scored, label, **fields)
    assert not ScoreOverride.objects.exists()


def test_nothing_is_said_about_who_may_not_be_profiled(scored):
    put(scored)
    Customer.objects.filter(pk=scored.pk).update(is_profiled=False)
    scored.refresh_from_db()
    score(everybody())
    scored.refresh_from_db()
    assert scored.tier == ""
    with pytest.raises(overrides.OverrideError, match="not profiled"):
        put(scored, "middle")


def test_a_customer_without_a_score_has_the_class_and_the_reason(scored):
    none = Customer.objects.create(reference="nobody")
    put(none)
    scoring.rescore_due()
    none.refresh_from_db()
    assert (none.tier, none.abstain_reason) == ("high", "no_orders")


def test_it_follows_a_merge_and_a_split(scored):
    home = (
        Customer.objects.filter(tier="none").exclude(pk=scored.pk).first()
        or Customer.objects.exclude(pk=scored.pk).first()
    )
    put(scored)
    identities.merge(home, scored)
    score(everybody())
    home.refresh_from_db()
    assert home.tier == "high"
    identities.split(scored)
    score(everybody())
    assert Customer.objects.get(pk=scored.pk).tier == "high"
    assert "high" not in overrides.of([home.pk]).values()
