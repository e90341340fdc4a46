"""A serving version is watched: what it sees and says beside its training, what became of it beside its promise."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from django.urls import reverse

from segmentation import monitoring, outcomes, registry, scoring_runs, targets
from segmentation.features import portrait
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.ml.schema import STANDARD_TARGETS, Frame, TargetPrediction
from segmentation.models import Alert, Customer, ModelCheck, ModelVersion, Score, ScoreHistory, Shop
from tests.segmentation.learning.conftest import train
from tests.support import mini_shop

pytestmark = pytest.mark.django_db
PEOPLE = 300
AS_OF = date(2024, 3, 1)


def test_a_trained_version_keeps_what_it_learned_from_and_a_run_checks_it(small_shop, standard, monkeypatch):
    monkeypatch.setattr(monitoring, "ENOUGH", 20)
    train(standard)
    champions = registry.champions(standard)
    for version in champions.values():
        # Whether what never changes begins to change is watched as well, where it is a number with a spread.
        assert set(version.features) <= version.reference["features"].keys()
    sample = portrait.sample(AS_OF)
    assert monitoring.check(sample, as_of=AS_OF, shop=small_shop) == [], "nobody was classified yet"
    run = scoring_runs.start()
    while (shard := scoring_runs.claim_shard(run.pk)) is not None:
        scoring_runs.run_shard(shard)
    scoring_runs.finish(run.pk)
    made = {check.target.slug: check for check in ModelCheck.objects.select_related("target")}
    assert set(made) == {target.slug for target in standard}
    churn = made["churn"]
    assert churn.customers == Score.objects.filter(target=churn.target, abstain_reason="").count()
    assert churn.features["recency_days"] >= 0
    assert churn.answers is not None
    assert churn.outcome is None


# --- with made-up answers
@pytest.fixture
def shop(db):
    return mini_shop.build(PEOPLE)


@pytest.fixture
def served(shop):
    """A version that answered for everybody as it did in its test."""
    rng = np.random.default_rng(1)
    recency = rng.uniform(0, 300, PEOPLE)
    chance = recency / 300
    tier = rng.integers(0, 4, PEOPLE)
    learned = {target.name: target for target in STANDARD_TARGETS}
    answers = {
        "churn": TargetPrediction(probabilities=np.stack([1 - chance, chance], axis=1)),
        "value_tier": TargetPrediction(probabilities=np.eye(4)[tier], decided=tier),
        "future_value": TargetPrediction(mean=chance * 100),
    }
    ids = np.array(Customer.objects.order_by("pk").values_list("pk", flat=True))
    x = pl.DataFrame({"recency_days": recency, "country": ["GB"] * PEOPLE})
    train_ = Frame(ids=ids, cutoffs=np.zeros(PEOPLE, dtype="datetime64[D]"), x=x)
    version = ModelVersion.objects.create(
        number=1,
        algorithm="blend",
        features=["recency_days", "country"],
        catalogue_version=CATALOGUE_VERSION,
        artifact_sha256="0" * 64,
        reference=monitoring.reference(train_, answers, list(learned.values())),
    )
    wanted = targets.install()
    version.targets.set(wanted)
    for target in wanted:
        registry.promote(target, version)
        answer = answers[target.slug]
        for place, customer in enumerate(ids.tolist()):
            value = float(answer.mean[place] if answer.mean is not None else answer.probabilities[place, 1])
            label = learned[target.slug].classes[tier[place]] if learned[target.slug].classes else ""
            Score.objects.create(
                customer_id=customer, target=target, version=version, as_of=AS_OF, value=value, label=label
            )
    return version, x.with_columns(customer_id=pl.Series(ids))


def check(sample, day=AS_OF):
    return {made.target.slug: made for made in monitoring.check(sample, as_of=day, shop=Shop.get())}


def test_the_same_customers_have_not_moved(served):
    _version, sample = served
    made = check(sample)
    assert {slug for slug, one in made.items() if one.answers < 0.01} == {
        "churn",
        "value_tier",
        "future_value",
    }
    assert max(made["churn"].features.values()) < 0.01
    assert not Alert.objects.filter(key__startswith="drift:").exists()


def test_answers_that_moved_far_open_an_alert_that_closes_when_they_return(served):
    version, sample = served
    before = dict(Score.objects.filter(target__slug="churn").values_list("customer", "value"))
    Score.objects.filter(target__slug="churn").update(value=0.99)
    assert check(sample)["churn"].answers > 0.25
    alert = Alert.objects.get(key="drift:churn", resolved_at=None)
    assert "Stops buying" in alert.message
    for customer, value in before.items():
        Score.objects.filter(target__slug="churn", customer=customer).update(value=value)
    check(sample, AS_OF + timedelta(days=1))
    alert.refresh_from_db()
    assert alert.resolved_at is not None


def test_checking_a_day_twice_keeps_one_row(served):
    _version, sample = served
    check(sample)
    check(sample)
    assert ModelCheck.objects.filter(as_of=AS_OF).count() == 3


def test_too_few_customers_say_nothing(served):
    _version, sample = served
    assert check(sample.head(monitoring.ENOUGH - 1)) == {}


def remember(version, slug, day, values, labels=None):
    target = next(one for one in targets.active() if one.slug == slug)
    ids = Customer.objects.order_by("pk").values_list("pk", flat=True)
    ScoreHistory.objects.bulk_create(
        ScoreHistory(
            customer_id=customer, target=target, version=version, as_of=day, value=value,
            label=labels[place] if labels else "",
        )
        for place, (customer, value) in enumerate(zip(ids, values, strict=True))
    )  # fmt: skip
    return target


DAY = date(2023, 11, 1)


def truth(shop):
    """Who ordered in the ninety days after DAY, by plain rows."""
    from segmentation.models import Event

    start = DAY - timedelta(days=0)
    ahead = Event.objects.filter(
        kind__in=[1], occurred_at__date__gte=start, occurred_at__date__lt=start + timedelta(days=90)
    )
    bought = set(ahead.values_list("customer", flat=True))
    return [
        0.0 if pk in bought else 1.0 for pk in Customer.objects.order_by("pk").values_list("pk", flat=True)
    ]


def test_what_became_of_answers_is_told_once_the_horizon_has_passed(served, shop):
    version, sample = served
    gone = truth(shop)
    target = remember(version, "churn", DAY, [0.9 if left else 0.1 for left in gone])
    ModelCheck.objects.create(version=version, target=target, as_of=DAY, customers=PEOPLE)
    check(sample, DAY + timedelta(days=89))
    assert ModelCheck.objects.get(target=target, as_of=DAY).outcome is None
    check(sample)
    found = ModelCheck.objects.get(target=target, as_of=DAY).outcome
    assert found["customers"] == PEOPLE
    assert found["observed"] == pytest.approx(np.mean(gone))
    assert found["metrics"]["auc"]["value"] == 1.0
    assert not Alert.objects.filter(key="outcome:churn").exists()


def test_a_share_that_was_not_kept_opens_an_alert_in_words(served, shop):
    version, sample = served
    target = remember(version, "churn", DAY, [0.01] * PEOPLE)
    ModelCheck.objects.create(version=version, target=target, as_of=DAY, customers=PEOPLE)
    check(sample)
    message = Alert.objects.get(key="outcome:churn").message
    assert "1% were expected to stop buying" in message


def test_a_ranking_clearly_worse_than_promised_is_a_broken_promise(served, shop):
    version, _sample = served
    version.evaluation = {
        "churn": {"kind": "binary", "metrics": {"auc": {"value": 0.8, "low": 0.78, "high": 0.82}}}
    }
    level = np.mean(truth(shop))
    target = remember(version, "churn", DAY, np.random.default_rng(2).normal(level, 0.01, PEOPLE).tolist())
    found = outcomes.find(target, version, day=DAY, shop=shop)
    assert "worse than its test promised" in outcomes.broken_promise(target, version, found)


def test_chances_less_honest_than_promised_are_a_broken_promise_though_their_mean_is_right(served, shop):
    version, _sample = served
    version.evaluation = {
        "churn": {"metrics": {"calibration_error": {"value": 0.03, "low": 0.02, "high": 0.04}}}
    }
    gone = truth(shop)
    # Certain, with no regard to who they are, and right on average.
    level = np.mean(gone)
    target = remember(
        version,
        "churn",
        DAY,
        np.random.default_rng(3).choice([0.0, 1.0], PEOPLE, p=[1 - level, level]).tolist(),
    )
    found = outcomes.find(target, version, day=DAY, shop=shop)
    assert abs(found["expected"] - found["observed"]) < outcomes.SHARE_OFF
    assert "the test promised 3" in outcomes.broken_promise(target, version, found)
    honest = found | {"metrics": {"calibration_error": {"value": 0.05, "low": 0.03, "high": 0.08}}}
    assert outcomes.broken_promise(target, version, honest) == ""


def test_classes_right_less_often_than_they_said_are_a_broken_promise(served, shop):
    version, _sample = served
    version.config = {"tier_cuts": {"value_tier": [20.0, 60.0]}}
    tier = remember(version, "value_tier", DAY, [0.99] * PEOPLE, ["middle"] * PEOPLE)
    found = outcomes.find(tier, version, day=DAY, shop=shop)
    assert "99% of the classes should have been right" in outcomes.broken_promise(tier, version, found)
    assert outcomes.broken_promise(tier, version, found | {"expected": found["observed"]}) == ""


def test_spend_and_tiers_have_outcomes_too(served, shop):
    version, _sample = served
    version.config = {"tier_cuts": {"value_tier": [20.0, 60.0]}}
    value = remember(version, "future_value", DAY, [10.0] * PEOPLE)
    tier = remember(version, "value_tier", DAY, [0.5] * PEOPLE, ["low"] * PEOPLE)
    spent = outcomes.find(value, version, day=DAY, shop=shop)
    assert spent["expected"] == pytest.approx(10.0 * PEOPLE)
    assert spent["metrics"]["bias"]["value"] == pytest.approx(spent["expected"] / spent["observed"] - 1)
    assert 0 < outcomes.find(tier, version, day=DAY, shop=shop)["observed"] < 1


def test_a_day_without_kept_answers_is_closed_without_an_outcome(served, shop):
    version, sample = served
    target = targets.active()[0]
    ModelCheck.objects.create(version=version, target=target, as_of=DAY, customers=PEOPLE)
    check(sample)
    assert ModelCheck.objects.get(target=target, as_of=DAY).outcome == {}


def test_the_versions_page_shows_its_checks_in_words(served, admin_client):
    version, sample = served
    Score.objects.filter(target__slug="churn").update(value=0.99)
    check(sample)
    page = admin_client.get(
        reverse("admin:segmentation_modelversion_change", args=[version.pk])
    ).content.decode()
    assert "Since it serves" in page
    assert "moved far" in page
    assert "as in the test (0.00)" in page
