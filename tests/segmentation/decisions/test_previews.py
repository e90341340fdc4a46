"""Previews, refreshes and classification agree, because they read what classification stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.cache import cache

from segmentation import (
    holdouts,
    identities,
    ingest,
    memberships,
    previews,
    scoring,
    segments,
    starter,
    stored_frames,
)
from segmentation.kinds import EventKind
from segmentation.models import (
    Campaign,
    Customer,
    CustomerFeatures,
    Decision,
    EventSource,
    Membership,
    ModelVersion,
    Offer,
    PastMembership,
    Score,
    Segment,
    ServicePriorityRule,
    Shop,
    Target,
)
from segmentation.models.customers import PriorityLevel
from segmentation.normal import NormalEvent
from segmentation.rules.language import RuleError
from tests.segmentation.decisions.shop import FREQUENT, LEAVING, campaign, offer, segment

CUSTOMERS = 12


@pytest.fixture
def shop_with_orders(shop):
    """Customer n placed n orders, one a day, up to today; everybody is classified."""
    now = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    source = EventSource.objects.create(slug="test")
    events = [
        NormalEvent(
            source_key=f"{n}-{day}",
            kind=EventKind.ORDER_PLACED,
            occurred_at=now - timedelta(days=day),
            customer=f"c{n}",
            amount=Decimal(10),
        )
        for n in range(1, CUSTOMERS + 1)
        for day in range(1, n + 1)
    ]
    ingest.record_events(events, source=source, namespace="shop", received_at=now, cause="test")
    return shop


def ids() -> list[int]:
    return list(Customer.objects.order_by("pk").values_list("pk", flat=True))


def classify():
    return scoring.score_customers(ids(), scoring.pin())


def members(slug: str) -> set[str]:
    return set(Membership.objects.filter(segment__slug=slug).values_list("customer__reference", flat=True))


def give_scores(churn: dict[str, float]) -> None:
    version = ModelVersion.objects.create(
        number=1, algorithm="test", catalogue_version="x", artifact_sha256="x"
    )
    target = Target.objects.get(slug="churn")
    for reference, value in churn.items():
        Score.objects.create(
            customer=Customer.objects.get(reference=reference),
            target=target,
            version=version,
            as_of=Shop.get().today(),
            value=value,
        )


def test_a_preview_counts_what_classification_then_stores(shop_with_orders):
    classify()
    found = previews.reach(FREQUENT)
    assert (found.count, found.total, found.margin, found.share) == (10, 12, 0, pytest.approx(10 / 12))
    assert {reference for _pk, reference in found.sample} == {f"c{n}" for n in range(3, 13)}
    made = segment("frequent", FREQUENT)
    assert memberships.refresh_segment(made.pk).entered == {"frequent": 10}
    assert members("frequent") == {reference for _pk, reference in found.sample}
    assert previews.reach(segment=made).count == 10
    assert previews.reach({"field": "feature.orders_90d", "op": ">", "value": 10}, segment=made).count == 2
    before = list(Membership.objects.order_by("pk").values())
    classify()
    assert list(Membership.objects.order_by("pk").values()) == before
    assert not PastMembership.objects.exists()


def test_a_refresh_follows_to_segments_that_refer_to_it(shop_with_orders):
    frequent = segment("frequent", FREQUENT)
    segment("rare", {"none": [{"field": "segment.frequent", "op": "in"}]})
    classify()
    assert members("rare") == {"c1", "c2"}
    segments.save_rule(frequent, {"field": "feature.orders_90d", "op": ">=", "value": 12})
    news = []
    report = memberships.refresh_segment(frequent.pk, on_decided=news.extend)
    assert (report.left, report.entered) == ({"frequent": 9}, {"rare": 9})
    assert members("frequent") == {"c12"}
    told = Customer.objects.in_bulk([one.customer_id for one in news]).values()
    assert {customer.reference for customer in told} == {f"c{n}" for n in range(3, 12)}
    assert {one.decision_id for one in news} == {None}
    assert Segment.objects.get(slug="rare").member_count == 11


def test_stored_frames_equal_what_scoring_decides_on(shop_with_orders):
    pinned = scoring.pin()
    computed = scoring.frame_for(ids(), pinned)
    classify()
    stored = stored_frames.read(ids())
    shared = [name for name in computed.columns if name in stored.columns and name != "input_version"]
    assert {"feature.orders_90d", "customer.tenure_days", "consent.marketing", "customer.country"} <= set(
        shared
    )
    assert stored.select(shared).equals(computed.select(shared))


def test_scores_come_back_as_rule_fields(shop_with_orders):
    classify()
    give_scores({"c1": 0.9, "c2": 0.2})
    assert [reference for _pk, reference in previews.reach(LEAVING).sample] == ["c1"]
    Customer.objects.filter(reference="c1").update(is_profiled=False)
    assert previews.reach(LEAVING).count == 0
    segment("leaving", LEAVING)
    unlikely = previews.reach({"none": [{"field": "segment.leaving", "op": "in"}]})
    assert unlikely.count == CUSTOMERS - 1


def test_customers_never_classified_or_merged_away_are_not_counted(shop_with_orders):
    classify()
    Customer.objects.create(reference="unseen")
    identities.merge(Customer.objects.get(reference="c12"), Customer.objects.get(reference="c11"))
    assert previews.reach(FREQUENT).total == CUSTOMERS - 1
    CustomerFeatures.objects.all().delete()
    assert previews.reach(FREQUENT) == previews.Reach(0, 0, 0.0, 0, {}, ())


def test_a_wrong_draft_is_refused(shop_with_orders):
    with pytest.raises(RuleError):
        previews.reach({"all": []})
    with pytest.raises(RuleError):
        previews.reach(None)


def test_a_large_shop_is_sampled_with_a_margin_that_holds_the_truth(shop_with_orders, monkeypatch):
    classify()
    rare, often = (CustomerFeatures.objects.get(customer__reference=name) for name in ("c1", "c12"))
    people = Customer.objects.bulk_create(Customer(reference=f"copy{n}") for n in range(988))
    CustomerFeatures.objects.bulk_create(
        CustomerFeatures(
            customer=person,
            as_of=like.as_of,
            catalogue_version=like.catalogue_version,
            context_id=like.context_id,
            vector=like.vector,
        )
        for number, person in enumerate(people)
        for like in [often if number % 4 == 0 else rare]
    )
    monkeypatch.setattr(previews, "EXACT_LATER", 500)
    monkeypatch.setattr(previews, "SAMPLE", 300)
    found = previews.reach(FREQUENT)
    assert (found.total, found.is_exact) == (1000, False)
    assert 0 < found.margin < 80
    assert abs(found.count - (247 + 10)) <= found.margin
    assert found == previews.reach(FREQUENT)


def test_a_quick_look_takes_a_sample_and_says_who_they_are_besides(shop_with_orders, monkeypatch):
    segment("frequent", FREQUENT)
    segment("often", {"field": "feature.orders_90d", "op": ">=", "value": 11})
    classify()
    found = previews.reach({"field": "feature.orders_90d", "op": ">=", "value": 9}, beside=True)
    assert [(one.slug, one.of_draft, one.of_segment) for one in found.beside.overlaps] == [
        ("frequent", 1.0, 0.4),
        ("often", 0.5, 1.0),
    ]
    orders = next(spread for spread in found.beside.spreads if "Orders" in str(spread.label))
    assert [(str(one.label), round(one.of_draft, 2), round(one.of_all, 2)) for one in orders.bins] == [
        ("1", 0, 0.08), ("2 or 3", 0, 0.17), ("4 to 7", 0, 0.33), ("8 or more", 1, 0.42),
    ]  # fmt: skip
    monkeypatch.setattr(previews, "QUICK", 6)
    cache.clear()
    assert not previews.reach(FREQUENT, quick=True).is_exact
    assert previews.reach(FREQUENT).is_exact


def test_a_campaign_preview_says_what_each_rule_would_do_beside_the_running_ones(shop_with_orders):
    classify()
    campaign("running", ({"field": "feature.orders_90d", "op": ">=", "value": 10}, offer("r")), priority=9)
    draft = campaign("draft", (FREQUENT, offer("a", cost_minor=250)), start=False)
    found = previews.campaign_reach(draft)
    [rule] = found.rules
    assert (rule.fits, rule.gets, rule.outranked, rule.held_out) == (10, 7, 3, 0)
    assert (found.gets, found.cost_minor, found.outranked_by) == (7, 7 * 250, {"Running": 3})
    draft.needs_marketing_consent = True
    draft.save()
    assert previews.campaign_reach(draft).rules[0].no_consent == 10
    draft.needs_marketing_consent = False
    draft.save()
    group = holdouts.set_global(50)
    held = sum(holdouts.is_held_out(holdouts.Draw.of(group), f"c{n}") for n in range(3, 13))
    assert previews.campaign_reach(draft).rules[0].held_out == held
    assert not Decision.objects.filter(campaign=draft).exists()


def test_a_priority_preview_counts_those_whose_level_would_change(shop_with_orders):
    classify()
    ServicePriorityRule.objects.create(
        position=1, name="Top", condition={"field": "feature.orders_90d", "op": ">=", "value": 10}, level=4
    )
    draft = ServicePriorityRule(position=2, name="Draft", condition=FREQUENT, level=PriorityLevel.HIGH)
    found = previews.priority_reach(draft)
    assert (found.fits, found.changes, found.moves) == (10, 7, {(2, 3): 7})
    draft.position = 0
    assert previews.priority_reach(draft).moves == {(2, 3): 7, (4, 3): 3}


def test_the_starter_set_decides_for_a_real_shop(shop_with_orders):
    starter.install()
    report = classify()
    assert report.decisions == CUSTOMERS
    assert members("new") == {"c1", "c2"}
    assert Customer.objects.filter(current_offer__slug="welcome-gift").count() > 0


def test_installing_the_starter_set_again_adds_nothing_and_overwrites_no_edit(shop):
    made = starter.install()
    assert Campaign.objects.filter(status=Campaign.Status.RUNNING).count() == Campaign.objects.count() == 7
    Offer.objects.filter(slug="welcome-gift").update(name="Ours")
    segments.save_rule(Segment.objects.get(slug="new"), FREQUENT)
    Campaign.objects.get(slug="welcome").delete()
    assert starter.install() == ()
    assert len(made) == len(set(made)) > 20
    assert Offer.objects.get(slug="welcome-gift").name == "Ours"
    assert Segment.objects.get(slug="new").version.rule == FREQUENT
    assert not Campaign.objects.filter(slug="welcome").exists()


def test_the_starter_set_leaves_what_staff_made_under_the_same_name(shop):
    segment("new", FREQUENT)
    starter.install()
    assert Segment.objects.get(slug="new").version.rule == FREQUENT
    assert Campaign.objects.get(slug="welcome").status == Campaign.Status.RUNNING
