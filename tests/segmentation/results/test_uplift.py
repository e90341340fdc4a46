"""An uplift target: learned from the holdout, judged on customers kept aside, served as a score, used in the choice."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from segmentation import (
    bulk,
    campaigns,
    due,
    previews,
    reasons,
    scoring,
    segments,
    target_previews,
    targets,
    training,
    training_runs,
    uplift,
)
from segmentation.dashboard import model_page, score_views
from segmentation.decisions import choice
from segmentation.decisions import policy as policies
from segmentation.decisions.codes import Verdict
from segmentation.kinds import EventKind
from segmentation.ml.effects.rows import PROPENSITY, TREATED
from segmentation.models import (
    Campaign,
    Customer,
    Decision,
    Event,
    EventSource,
    InputSnapshot,
    LeaseState,
    ModelSlot,
    ModelVersion,
    Offer,
    Score,
    Segment,
    Shop,
    Target,
)
from segmentation.rules import fields
from segmentation.target_settings import TargetError
from tests.segmentation.results import world
from tests.segmentation.results.world import AS_OF, SINCE
from tests.support.intervals import agrees

COUNT, HELD, FIRST = 1500, 0.4, 10_000_010
QUICK = {"boosting_rounds": 120, "boosting_patience": 8, "rounds": 60}


def arms_and_orders(made: Campaign, *, seed: int = 1) -> None:
    """Everybody bought before; only the French are moved by the offer, half of them into an order."""
    random = np.random.default_rng(seed)
    # Who is kept aside to judge depends on the key.
    people = Customer.objects.bulk_create(
        Customer(pk=FIRST + n, reference=f"u{n}", country="FR" if n % 2 else "GB", channel="web")
        for n in range(COUNT)
    )
    held = random.random(COUNT) < HELD
    rules = world.policy(made, percent=100 * HELD)
    source, _ = EventSource.objects.get_or_create(slug="shop")
    snapshot = InputSnapshot.objects.create(
        customer=people[0], input_version=1, policy=rules, as_of=SINCE.date(), content=b"{}"
    )
    since = [SINCE + timedelta(days=20 * (n % 3)) for n in range(COUNT)]
    bulk.insert(
        Decision,
        ("customer_id", "input_version", "policy_id", "snapshot_id", "as_of", "cause", "verdicts", "decided_at", "priority"),
        [
            (
                one.pk, 1, rules.pk, snapshot.pk, at.date(), 1,
                bytes([Verdict.HELD_OUT_CAMPAIGN if out else Verdict.WON]), at, 2,
            )
            for one, out, at in zip(people, held, since, strict=True)
        ],
    )  # fmt: skip
    chance = 0.15 + np.where(held, 0.0, [0.5 if one.country == "FR" else 0.0 for one in people])
    bought = random.random(COUNT) < chance
    events = []
    for number, (one, at) in enumerate(zip(people, since, strict=True)):
        days = [-200 + random.integers(150), -20, *([3] if bought[number] else [])]
        events += [
            Event(
                customer=one, kind=EventKind.ORDER_PLACED, occurred_at=at + timedelta(days=int(day)), received_at=at,
                source=source, source_key=f"{number}-{k}", amount_minor=3000, quantity=1, line_count=1,
            )
            for k, day in enumerate(days)
        ]  # fmt: skip
    names = [field.attname for field in Event._meta.concrete_fields if field.attname != "id"]
    bulk.insert(Event, names, [tuple(getattr(event, name) for name in names) for event in events])


@pytest.fixture
def spring(db, settings, tmp_path):
    settings.VAR_DIR = tmp_path
    shop = world.shop()
    shop.frozen_on = AS_OF - timedelta(days=1)
    shop.save()
    made = world.campaign(margin_minor=2000, cost_minor=400)
    arms_and_orders(made)
    return made


@pytest.fixture
def effect(spring):
    return targets.make("spring_effect", kind="uplift", horizon_days=14, campaign="spring")


def learned(target: Target, **options):
    run = training_runs.request([target], preset="fast", config=QUICK, **options)
    training.run(training_runs.claim(run.pk))
    run.refresh_from_db()
    return run


def test_learned_judged_served_explained_and_chosen_by(spring, effect):
    run = learned(effect)
    assert run.state == LeaseState.DONE, run.error
    told = run.summary["versions"][0]["targets"]["spring_effect"]
    assert told["verdict"] == "first", told
    names = set(ModelVersion.objects.values_list("algorithm", flat=True))
    assert names == {"t_learner", "x_learner", "class_transformation", "two_head", "blend"}
    version = ModelSlot.objects.get(target=effect).champion
    assert version.algorithm == "blend"
    assert version.members.count() == 4
    figures = version.evaluation["spring_effect"]
    assert figures["primary"] == "qini"
    assert figures["metrics"]["qini"]["low"] > 0
    assert agrees(figures["metrics"]["effect"], 0.25)
    assert set(figures["baselines"]) >= {"random", "t_learner", "x_learner"}
    report = model_page.reports(version)[0]
    assert {chart.slug for chart in report.curves} == {"spring_effect-qini", "spring_effect-bands"}
    scores(spring, effect)


def scores(spring, effect) -> None:
    ids = list(Customer.objects.order_by("pk").values_list("pk", flat=True)[:40])
    due.mark_due(ids, cause="test")
    while scoring.rescore_due():
        pass
    rows = Score.objects.filter(target=effect, abstain_reason="").select_related("customer")
    by_country = {
        country: np.mean([row.value for row in rows if row.customer.country == country])
        for country in ("FR", "GB")
    }
    assert by_country["FR"] > by_country["GB"] + 0.15
    moved = next(row for row in rows if row.customer.country == "FR")
    reasons.explain(moved.customer_id)
    view = next(
        one for one in score_views.of_customer(moved.customer, Shop.get()) if one.target_id == effect.pk
    )
    assert "likelier to order with the offer" in view.headline
    assert any(
        "France" in reason.sentence or "FR" in reason.sentence
        for side in view.sides
        for reason in side.reasons
    )
    assert "score.spring_effect" in fields.registry()
    the_choice_asks_the_model(spring, moved)


def the_choice_asks_the_model(spring, moved) -> None:
    """20.00 a purchase at a cost of 4.00: worth it above an uplift of 20 points, so for the French."""
    spring.choice = Campaign.Choice.VALUE
    spring.save()
    segments.save_rule(
        Segment.objects.get(), {"field": "customer.country", "op": "in", "value": ["FR", "GB"]}
    )
    campaigns.validate(spring)
    policy = policies.build([spring], [])
    (candidate,) = policy.candidates
    assert candidate.worth.uplift_field == "score.spring_effect"
    frame = next(previews.frames_of(previews.whom_to_ask(), previews.rule_columns.of_policy(policy)))
    gains = dict(zip(frame["customer_id"].to_list(), choice.gains(frame, candidate), strict=True))
    value = Score.objects.get(customer=moved.customer_id, target__slug="spring_effect").value
    assert gains[moved.customer_id] == pytest.approx(2000 * value)


def test_rows_are_of_both_arms_and_never_of_the_future(spring, effect):
    material = uplift.read(effect, as_of=AS_OF, shop=Shop.get())
    for frame in (material.train, material.test):
        assert 0.5 < frame.labels[TREATED].mean() < 0.7
        assert set(frame.labels[PROPENSITY]) == {0.6}
        assert frame.cutoffs.max() <= np.datetime64(SINCE.date() + timedelta(days=40))
    assert not set(material.train.ids) & set(material.test.ids)
    # The order that the offer brought is a label, and no feature knows of it.
    ahead = material.train.x["orders_lifetime"].to_numpy()
    assert ahead.max() == 2
    # A customer whose days are not over yet teaches nothing.
    early = uplift.read(effect, as_of=SINCE.date() + timedelta(days=30), shop=Shop.get())
    assert len(early.train) + len(early.test) == pytest.approx(COUNT / 3, abs=2)


def test_without_a_holdout_it_says_what_is_missing(db):
    world.shop()
    made = world.campaign()
    target = targets.make("none", kind="uplift", campaign="spring")
    rules = world.policy(made)
    world.decided(world.customer(), rules, Verdict.WON)
    run = learned(target)
    assert run.state == LeaseState.FAILED
    assert "customers held out" in run.error
    assert not ModelVersion.objects.exists()


def test_an_effect_that_is_not_there_does_not_serve_by_itself(spring, effect):
    Event.objects.filter(source_key__endswith="-2", customer__country="FR").delete()
    run = learned(effect, algorithms=["t_learner"])
    assert run.state == LeaseState.DONE, run.error
    told = run.summary["versions"][0]["targets"]["spring_effect"]
    assert told["verdict"] == "unknown"
    assert "random order" in told["reason"]
    slot = ModelSlot.objects.get(target=effect)
    assert slot.champion is None
    assert slot.challenger.algorithm == "t_learner"


def test_of_an_offer_in_whatever_campaign(spring):
    offer = spring.rules.get().offer
    target = targets.make("gift", kind="uplift", horizon_days=14, offer=offer.slug)
    assert "Spring gift" in targets.definition(target)
    rows = target_previews.preview(target, shop=Shop.get()).rows
    counts = [row.count for row in rows]
    assert sum(counts) == COUNT
    assert counts[1] == pytest.approx(HELD * COUNT, rel=0.1)


@pytest.mark.parametrize(("campaign", "offer"), [("", ""), ("nowhere", ""), ("spring", "o")])
def test_an_effect_is_of_one_thing(db, campaign, offer):
    world.campaign()
    Offer.objects.create(slug="o", name="O", kind="gift", text="x")
    with pytest.raises(TargetError):
        targets.make("bad", kind="uplift", campaign=campaign, offer=offer)
