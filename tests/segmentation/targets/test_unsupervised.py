"""Groups and anomalies: found without labels, said in words, the same after a refit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from django.urls import reverse

from segmentation import group_profiles, reasons, registry, scoring, targets, training_runs
from segmentation.ml import artifacts
from segmentation.ml.anomaly import AnomalyEstimator
from segmentation.ml.clustering import ClusterEstimator, matched
from segmentation.ml.schema import Frame, LearningError, Target, columns_of
from segmentation.models import Customer, LeaseState, ModelSlot, ModelVersion, Score
from segmentation.models import Target as TargetRow
from tests.segmentation.learning.conftest import train
from tests.support import mini_shop

GROUPS = Target(name="groups", kind="multiclass", classes=("group_1", "group_2"))
ODD = Target(name="odd", kind="value")


def blobs(count=300, seed=0, centres=((0, 0), (6, 0), (0, 6))):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(centres), count)
    x = np.asarray(centres, dtype=float)[truth] + rng.normal(size=(count, 2))
    frame = Frame(
        np.arange(count),
        np.full(count, np.datetime64("2024-01-01")),
        pl.DataFrame({"a": x[:, 0], "b": x[:, 1]}),
    )
    return frame, truth


@pytest.mark.parametrize("method", ["kmeans", "ward", "mixture"])
def test_plain_groups_are_found_with_their_number_and_kept_on_disk(method, tmp_path):
    frame, truth = blobs()
    model = ClusterEstimator(targets=[GROUPS], columns=columns_of(frame.x), method=method).fit(frame, frame)
    found = model.predict(frame)["groups"]
    table = np.zeros((3, len(model.groups_.centres)))
    np.add.at(table, (truth, found.decided), 1)
    assert table.max(axis=1).sum() / len(frame) > 0.95
    if method != "mixture":
        assert len(model.groups_.centres) == 3, "the silhouette sees three"
    assert {choice.measure for choice in model.choices_} == {"bic" if method == "mixture" else "silhouette"}
    artifacts.save(model, tmp_path / "model")
    again = artifacts.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(frame)["groups"].probabilities, found.probabilities)
    alone = again.predict(frame.take(np.array([7])))["groups"]
    np.testing.assert_array_equal(alone.probabilities[0], found.probabilities[7])


def test_groups_keep_their_names_where_they_keep_their_people_and_no_number_comes_back():
    before = np.array([0] * 50 + [1] * 50 + [2] * 20)
    after = np.array([1] * 48 + [0] * 2 + [0] * 50 + [2] * 20)
    assert matched(before, after, ["group_1", "group_4", "group_2"], 3, fresh=5) == [
        "group_4",
        "group_1",
        "group_2",
    ]
    # A group that fell apart is nobody's: its number is gone, new ones are taken.
    scattered = np.arange(120) % 4
    assert matched(before, scattered, ["group_1", "group_4", "group_2"], 4, fresh=5) == [
        "group_5", "group_6", "group_7", "group_8",
    ]  # fmt: skip


def test_customers_who_all_look_the_same_have_no_groups():
    frame, _truth = blobs()
    same = Frame(frame.ids, frame.cutoffs, pl.DataFrame({"a": [1.0] * 300, "b": [None] * 300}))
    same = Frame(same.ids, same.cutoffs, same.x.cast(pl.Float64))
    with pytest.raises(LearningError, match="no groups to find"):
        ClusterEstimator(targets=[GROUPS], columns=columns_of(same.x)).fit(same, same)


def test_what_is_unusual_ranks_high_alone_and_in_a_crowd(tmp_path):
    frame, _truth = blobs(400)
    x = frame.x.with_columns(
        pl.when(pl.int_range(400) < 4).then(pl.lit(14.0)).otherwise(pl.col("a")).alias("a"),
        pl.when(pl.int_range(400) < 4).then(pl.lit(-14.0)).otherwise(pl.col("b")).alias("b"),
    )
    frame = Frame(frame.ids, frame.cutoffs, x)
    model = AnomalyEstimator(targets=[ODD], columns=columns_of(x)).fit(frame, frame)
    found = np.asarray(model.predict(frame)["odd"].mean)
    assert found[:4].min() > 0.95
    assert ((found >= 0) & (found <= 1)).all()
    assert abs(found.mean() - 0.5) < 0.05, "a percentile is spread evenly"
    artifacts.save(model, tmp_path / "model")
    again = artifacts.load(tmp_path / "model")
    alone = again.predict(frame.take(np.array([2])))["odd"].mean
    assert alone[0] == pytest.approx(found[2], abs=1e-12)
    np.testing.assert_allclose(again.predict(frame)["odd"].mean, found, atol=1e-12)


def test_path_lengths_are_those_of_scikit_learn():
    from sklearn.ensemble import IsolationForest

    frame, _truth = blobs(300)
    model = AnomalyEstimator(targets=[ODD], columns=columns_of(frame.x)).fit(frame, frame)
    x = model.inputs(frame)
    theirs = IsolationForest(n_estimators=100, max_samples=256, random_state=1).fit(x.astype(np.float32))
    expected = -theirs.score_samples(x.astype(np.float32))
    np.testing.assert_allclose(model.parts(x)["forest"], expected, rtol=1e-6)


@pytest.fixture
def page(admin_client):
    def read(name, *args):
        return admin_client.get(reverse(f"admin:segmentation_{name}", args=args)).content.decode()

    return read


def test_groups_from_a_row_to_the_customers_page_and_the_same_after_a_refit(page, small_shop):
    target = targets.make("groups", kind="clusters", options={"count": 3})
    run = train([target])
    assert (run.state, run.error) == (LeaseState.DONE, "")
    version = registry.champion(target)
    assert list(version.config["classes"]["groups"]) == ["group_1", "group_2", "group_3"]
    scoring.score_customers(list(Customer.objects.values_list("pk", flat=True)), scoring.pin())
    score = Score.objects.filter(target=target, abstain_reason="").first()
    text = page("customer_change", score.customer_id)
    assert f"Group {score.label[-1]}" in text
    assert group_profiles.sentence(version.config["profiles"][score.label]) in text
    reasons.explain(score.customer_id)
    assert "What they are like" in page("modelversion_change", version.pk)
    before = dict(Score.objects.filter(target=target).values_list("customer_id", "label"))
    assert train([target], seed=5).state == LeaseState.DONE
    assert registry.champion(target) != version, "a refit that moves few takes over"
    scoring.score_customers(list(before), scoring.pin())
    after = dict(Score.objects.filter(target=target).values_list("customer_id", "label"))
    assert np.mean([before[key] == after[key] for key in before]) > 0.9


def test_where_only_a_person_promotes_the_first_serves_and_a_refit_waits(small_shop):
    target = targets.make("groups", kind="clusters", options={"method": "kmeans", "count": 2})
    TargetRow.objects.filter(pk=target.pk).update(promotes=TargetRow.Promotes.BY_HAND)
    target.refresh_from_db()
    train([target])
    first = registry.champion(target)
    run = train([target], seed=5)
    assert registry.champion(target) == first
    assert "only a person promotes" in run.summary["versions"][0]["targets"]["groups"]["reason"]
    assert ModelSlot.objects.get(target=target).challenger.training_run == run


def test_unusual_customers_from_a_row_to_the_page(page, small_shop):
    target = targets.make("odd", kind="risk", options={"method": "anomaly"})
    run = train([target])
    assert (run.state, run.error) == (LeaseState.DONE, "")
    scoring.score_customers(list(Customer.objects.values_list("pk", flat=True)), scoring.pin())
    score = Score.objects.filter(target=target, abstain_reason="").first()
    assert 0 <= score.value <= 1
    text = page("customer_change", score.customer_id)
    assert "more unusual than" in text
    assert "no proof of anything" in text
    reasons.explain(score.customer_id)
    assert "autoencoder order customers alike" in page("modelversion_change", ModelVersion.objects.get().pk)


def test_too_few_customers_are_refused_with_the_number(db):
    mini_shop.build(40)
    for kind in ("clusters", "risk"):
        target = targets.make(kind, kind=kind, options={})
        with pytest.raises(
            training_runs.NotEnoughData, match="needs 200 customers with an order in the last year"
        ):
            training_runs.request([target])
