"""What a promotion would change, worked out by a worker from the versions' own answers."""

from __future__ import annotations

import numpy as np
import pytest
from django.core.cache import cache

from segmentation import (
    identities,
    overrides,
    previews,
    promotion_diffs,
    scoring,
    segments,
    serving,
    targets,
)
from segmentation.ml.schema import TargetPrediction
from segmentation.models import (
    Campaign,
    CampaignRule,
    Customer,
    Offer,
    PromotionDiff,
    Segment,
    ServicePriorityRule,
    Target,
)
from segmentation.models.customers import PriorityLevel
from tests.segmentation.scoring.conftest import RulePredictor, make_version


class Generous(RulePredictor):
    """One class higher for everybody, nobody leaves, twice the spend."""

    def predict(self, frame):
        found = dict(super().predict(frame))
        tier = np.minimum(found["value_tier"].decided + 1, 3)
        found["value_tier"] = TargetPrediction(probabilities=np.eye(4)[tier] * 0.9 + 0.025, decided=tier)
        count = len(tier)
        found["churn"] = TargetPrediction(probabilities=np.tile([0.9, 0.1], (count, 1)))
        found["future_value"] = TargetPrediction(mean=found["future_value"].mean * 2)
        return found


@pytest.fixture
def versions(champion, monkeypatch):
    new = make_version(targets.install(), 2)
    monkeypatch.setattr(
        serving, "predictor", lambda version: Generous() if version.number == 2 else RulePredictor()
    )
    scoring.score_customers(list(Customer.objects.values_list("pk", flat=True)), scoring.pin())
    return champion, new


@pytest.fixture
def policy(versions):
    """Whoever is of high value gets a gift worth 3.00 and is served first."""
    whom = Segment.objects.create(slug="precious", name="Precious")
    segments.save_rule(whom, {"field": "score.value_tier.label", "op": "is", "value": "high"})
    gift = Offer.objects.create(slug="gift", name="Gift", kind=Offer.Kind.GIFT, text="x", cost_minor=300)
    made = Campaign.objects.create(
        slug="c",
        name="Thanks",
        status=Campaign.Status.RUNNING,
        needs_marketing_consent=False,
        holdout_percent=0,
    )
    CampaignRule.objects.create(campaign=made, position=1, segment=whom, offer=gift)
    ServicePriorityRule.objects.create(position=1, name="First", level=PriorityLevel.HIGH, segment=whom)


def worked_out(slug, version):
    row = promotion_diffs.ask(Target.objects.get(slug=slug), version)
    promotion_diffs.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.error) == ("done", "")
    return row.result


def test_it_counts_who_changes_class_offer_and_priority_and_what_it_costs(versions, policy):
    found = worked_out("value_tier", versions[1])
    scored = Customer.objects.exclude(tier="")
    middle = scored.filter(tier="middle").count()
    below = scored.exclude(tier="high").count()
    high = scored.filter(tier="high").count()
    assert 0 < middle < below
    assert high
    assert (found["total"], found["looked_at"]) == (60, 60)
    assert (found["changed"], found["margin"]) == (below, 0)
    assert ["middle", "high", middle, 0] in found["moves"]
    assert found["offers"] == [["Gift", high, high + middle, middle, 0, 0]]
    assert found["priorities"] == [[2, 3, middle, 0]]
    assert found["cost_minor"] == [300 * high, 300 * (high + middle), 0]
    told = {row[1]: row[2:4] for row in found["people"]}
    assert all(Customer.objects.get(reference=name).tier == before for name, (before, _) in told.items())


def test_chances_are_told_by_band_and_spend_by_its_sum(versions):
    churn = worked_out("churn", versions[1])
    leaving = Customer.objects.filter(churn_probability__gte=0.65).count()
    assert leaving
    assert ["leaves", "stays", leaving, 0] in churn["moves"]
    value = worked_out("future_value", versions[1])
    assert value["sums"][1] == pytest.approx(2 * value["sums"][0])
    assert value["changed"] == Customer.objects.exclude(future_value_minor=None).count()


def test_what_staff_set_does_not_change(versions, policy):
    one = Customer.objects.filter(tier="low").first()
    tier = Target.objects.get(slug="value_tier")
    before = worked_out("value_tier", versions[1])["changed"]
    PromotionDiff.objects.all().delete()
    overrides.put(one, tier, "low", reason="x", by=None)
    assert worked_out("value_tier", versions[1])["changed"] == before - 1


def test_what_staff_set_before_a_merge_does_not_change_either(versions, policy):
    low, home = Customer.objects.filter(tier="low")[:2]
    tier = Target.objects.get(slug="value_tier")
    overrides.put(low, tier, "low", reason="x", by=None)
    identities.merge(home, low)
    told = {row[0] for row in worked_out("value_tier", versions[1])["people"]}
    assert told
    assert home.pk not in told


def test_a_large_shop_is_sampled_and_says_how_sure_it_is(versions, policy, monkeypatch):
    cache.clear()  # the shop's numbers as another test has counted them
    exact = worked_out("value_tier", versions[1])
    PromotionDiff.objects.all().delete()
    monkeypatch.setattr(previews, "EXACT_UP_TO", 10)
    monkeypatch.setattr(previews, "SAMPLE", 40)
    cache.clear()  # an earlier test's count of customers
    found = worked_out("value_tier", versions[1])
    assert 10 < found["looked_at"] < 60
    assert found["margin"] > 0
    assert abs(found["changed"] - exact["changed"]) <= 2 * found["margin"]


def test_it_is_asked_for_once_and_again_when_another_serves(versions):
    tier = Target.objects.get(slug="value_tier")
    first = promotion_diffs.ask(tier, versions[1])
    assert promotion_diffs.ask(tier, versions[1]) == first
    assert promotion_diffs.refusal(first)
    promotion_diffs.work(first.pk)
    assert promotion_diffs.refusal(promotion_diffs.latest(tier, versions[1])) == ""
    third = make_version([tier], 3)
    from segmentation import registry

    registry.promote(tier, third)
    assert promotion_diffs.latest(tier, versions[1]) is None
    assert promotion_diffs.ask(tier, versions[1]) != first


def test_a_failure_is_told_and_not_hidden(versions, monkeypatch):
    def broken(version):
        raise OSError("no file")

    monkeypatch.setattr(serving, "predictor", broken)
    row = promotion_diffs.ask(Target.objects.get(slug="value_tier"), versions[1])
    with pytest.raises(OSError, match="no file"):
        promotion_diffs.work(row.pk)
    row.refresh_from_db()
    assert (row.state, "no file" in row.error) == ("failed", True)


def test_who_has_too_few_orders_has_no_score_with_the_numbers(versions, client, admin_user):
    from segmentation.dashboard import customer_page, score_views

    Target.objects.update(min_orders=2)
    scoring.score_customers(list(Customer.objects.values_list("pk", flat=True)), scoring.pin())
    few = Customer.objects.filter(orders=1, abstain_reason="too_few_orders").first()
    assert few is not None
    assert few.tier == ""
    assert customer_page.abstained_because(few) == "No score: 1 order, need 2."
    from segmentation.models import Shop

    assert {view.headline for view in score_views.of_customer(few, Shop.get())} == {
        "No score: 1 order, need 2."
    }
    assert not Customer.objects.filter(orders__gte=2, abstain_reason="too_few_orders").exists()
    client.force_login(admin_user)
    assert "No score: 1 order, need 2." in client.get("/admin/segmentation/customer/").content.decode()
