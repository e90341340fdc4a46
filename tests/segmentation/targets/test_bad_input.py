"""Data that cannot be learned from, or that could bring a learner down: a clear refusal or a handled case for each."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from segmentation import artifact_store, learners, registry, serving, targets, training, training_runs
from segmentation.ml import artifacts
from segmentation.ml.config import TrainingConfig
from segmentation.ml.schema import Frame, Target, columns_of
from segmentation.models import (
    ArtifactChunk,
    AttributeDefinition,
    AttributeValue,
    Customer,
    LeaseState,
    ModelVersion,
)
from segmentation.models import Target as Row
from tests.segmentation.learning.conftest import QUICK, train

QUICKLY = TrainingConfig(preset="fast", network="mlp", hidden=(16,), ensemble=1, epochs=2, boosting_rounds=10)
MARKED = Target(name="marked", kind="binary", positive="fraud")
SINCE = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def frame(count=300, seed=0, **columns):
    rng = np.random.default_rng(seed)
    truth = (rng.random(count) < 0.4).astype(np.float64)
    x = pl.DataFrame(
        {"hint": truth + rng.normal(size=count), **{n: make(count, rng) for n, make in columns.items()}}
    )
    return Frame(np.arange(count), np.full(count, np.datetime64("2024-01-01")), x, {"marked": truth})


BAD = {
    "constant": lambda count, _rng: [3.0] * count,
    "missing": lambda count, _rng: pl.Series([None] * count, dtype=pl.Float64),
    "infinite": lambda count, rng: np.where(rng.random(count) < 0.3, np.inf, -np.inf),
    "huge": lambda count, rng: rng.normal(size=count) * 1e300,
    "nowhere": lambda count, _rng: pl.Series([None] * count, dtype=pl.String),
    "thousands": lambda count, _rng: [f"value {n}" for n in range(count)],
}


@pytest.mark.parametrize("name", ["logistic", "lightgbm", "mlp"])
def test_columns_that_say_nothing_or_are_infinite_leave_every_answer_a_number(name):
    train_rows, test_rows = frame(**BAD), frame(80, seed=1, **BAD)
    model = artifacts.create(name, targets=[MARKED], columns=columns_of(train_rows.x), config=QUICKLY)
    model.fit(train_rows, test_rows)
    # Values that were never there when it learned.
    unseen = test_rows.x.with_columns(
        thousands=pl.lit("never seen"), constant=pl.lit(-1e9), hint=pl.lit(np.inf)
    )
    for x in (test_rows.x, unseen):
        found = model.predict(Frame(test_rows.ids, test_rows.cutoffs, x))["marked"].probabilities
        assert np.isfinite(found).all()
        assert ((found >= 0) & (found <= 1)).all()


def test_ten_thousand_categories_take_no_more_inputs_than_the_frequent_ones():
    wide = frame(10_000, many=lambda count, rng: [f"c{rng.integers(10_000)}" for _ in range(count)])
    model = artifacts.create("logistic", targets=[MARKED], columns=columns_of(wide.x), config=QUICKLY)
    model.fit(wide, wide.take(np.arange(100)))
    assert len(model.input_sources()) < 70


def labelled(count, label):
    """Customers with a number and a label each."""
    people = Customer.objects.bulk_create(Customer(reference=f"B{n}") for n in range(count))
    size = AttributeDefinition.objects.create(slug="size", label="Size", kind="number", is_feature=True)
    kind = AttributeDefinition.objects.create(slug="kind", label="Kind", kind="text")
    rng = np.random.default_rng(3)
    values = []
    for number, person in enumerate(people):
        values.append(AttributeValue(customer=person, definition=size, number=rng.normal(), valid_from=SINCE))
        values.append(AttributeValue(customer=person, definition=kind, text=label(number), valid_from=SINCE))
    AttributeValue.objects.bulk_create(values)
    return kind


def test_one_class_is_refused(db):
    labelled(220, lambda _n: "same")
    target = targets.make("sort", kind="category", attribute="kind")
    with pytest.raises(training_runs.NotEnoughData, match="needs 2 classes of “Sort”, has 1"):
        training_runs.request([target])


def test_a_risk_that_nobody_carries_is_refused(db):
    labelled(220, lambda n: "fine" if n % 2 else "good")
    target = targets.make("fraud", kind="risk", attribute="kind", options={"positive": "fraud"})
    with pytest.raises(training_runs.NotEnoughData, match="labelled “fraud” for “Fraud”, has 0"):
        training_runs.request([target])


def test_forty_customers_are_refused_with_the_number(db):
    labelled(40, lambda n: "ab"[n % 2])
    with pytest.raises(training_runs.NotEnoughData, match="needs 200 customers labelled for “Sort”, has 40"):
        training_runs.request([targets.make("sort", kind="category", attribute="kind")])


def test_a_label_with_too_many_values_says_so(db):
    labelled(1260, lambda n: f"value {n % 60}")
    run = train([targets.make("sort", kind="category", attribute="kind")])
    assert run.state == LeaseState.FAILED
    assert "60 different labels; a category has at most 50" in run.error


def test_a_label_column_that_leaks_is_refused_by_name(db):
    kind = labelled(300, lambda n: "ab"[n % 2])
    twin = AttributeDefinition.objects.create(slug="twin", label="Twin", kind="choice", is_feature=True)
    AttributeValue.objects.bulk_create(
        AttributeValue(customer_id=value.customer_id, definition=twin, text=value.text * 2, valid_from=SINCE)
        for value in kind.values.all()
    )
    run = train([targets.make("sort", kind="category", attribute="kind")])
    assert run.state == LeaseState.FAILED
    assert "The column “Twin” alone tells “sort” almost perfectly" in run.error
    assert not ModelVersion.objects.exists()


def test_a_target_deleted_during_its_training_ends_the_run_in_words(db, monkeypatch):
    labelled(220, lambda n: "ab"[n % 2])
    target = targets.make("sort", kind="category", attribute="kind")
    judge = learners.judge

    def deleted_meanwhile(*args, **kwargs):
        Row.objects.filter(slug="sort").delete()
        return judge(*args, **kwargs)

    monkeypatch.setattr(learners, "judge", deleted_meanwhile)
    run = training_runs.request([target], preset="fast", config=QUICK)
    training.run(training_runs.claim(run.pk))
    run.refresh_from_db()
    assert run.state == LeaseState.FAILED
    assert "“Sort” was deleted while it was being trained. No model was stored" in run.error
    assert not ModelVersion.objects.exists()


def test_an_artifact_whose_hash_does_not_fit_is_never_loaded(db):
    labelled(220, lambda n: "ab"[n % 2])
    target = targets.make("sort", kind="category", attribute="kind")
    assert train([target]).state == LeaseState.DONE
    version = registry.champion(target)
    chunk = ArtifactChunk.objects.filter(version=version).order_by("file_name").first()
    chunk.content = bytes(chunk.content)[:-1] + b"\x00"
    chunk.save()
    with pytest.raises(artifact_store.ArtifactDamaged, match="were changed after training. Train again"):
        serving.predictor(version)
