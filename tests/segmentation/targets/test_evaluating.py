"""Folds and origins: what is held out, what is pooled, and what is not promised."""

from __future__ import annotations

import datetime as dt

import numpy as np
import orjson
import polars as pl
import pytest
from django.core.management import CommandError, call_command
from sklearn.metrics import average_precision_score, f1_score, precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from segmentation import promises, targets
from segmentation.ml import evaluation, pooling, splits
from segmentation.ml.config import TrainingConfig
from segmentation.ml.schema import Frame, LearningError, Target, TargetPrediction
from segmentation.models import AttributeDefinition, AttributeValue, Customer, Shop

QUICK = TrainingConfig(preset="fast", network="mlp", hidden=(16,), ensemble=1, epochs=2, boosting_rounds=10)
SINCE = dt.datetime(2022, 9, 10, tzinfo=dt.UTC)


@pytest.fixture
def quick(monkeypatch):
    """The smallest training in place of the presets."""
    monkeypatch.setattr("segmentation.ml.config.PRESETS", {"fast": QUICK, "default": QUICK})


@pytest.fixture
def labelled(db):
    """300 labelled customers and two columns that say something about the label."""
    people = Customer.objects.bulk_create(Customer(reference=f"L{n}") for n in range(300))
    size, label = (
        AttributeDefinition.objects.create(slug=slug, label=slug.title(), kind=kind, is_feature=True)
        for slug, kind in (("size", "number"), ("bought", "boolean"))
    )
    rng = np.random.default_rng(2)
    values = []
    for person in people:
        marked = float(rng.random() < 0.4)
        values += [
            AttributeValue(customer=person, definition=label, number=marked, valid_from=SINCE),
            AttributeValue(customer=person, definition=size, number=marked + rng.normal(), valid_from=SINCE),
        ]
    AttributeValue.objects.bulk_create(values)
    return targets.make("buys", kind="risk", attribute="bought")


def test_folds_hold_every_customer_out_once_and_the_file_gives_the_figures_again(
    labelled, quick, tmp_path, capsys
):
    report, rows = tmp_path / "report.json", tmp_path / "rows.parquet"
    call_command(
        "evaluate", "buys", "--folds", "3", "--seed", "0", "--rounds", "20",
        "--out", str(report), "--predictions", str(rows),
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert "Mean of 3 folds" in printed
    found = orjson.loads(report.read_bytes())[0]
    assert list(found["origins"]) == ["fold 1", "fold 2", "fold 3"]
    blend = pl.read_parquet(rows).filter(pl.col("model") == "blend")
    assert blend["customer"].is_unique().all()
    assert blend.height == 300
    means = []
    for fold in found["origins"]:
        part = blend.filter(pl.col("test") == fold)
        means.append(roc_auc_score(part["buys.label"], part["buys.p_1"]))
    pooled = found["pooled"]["buys"]
    assert pooled["metrics"]["blend"]["auc"]["value"] == pytest.approx(np.mean(means), abs=1e-9)
    assert pooled["differences"]["logistic"]["auc"]["low"] <= pooled["differences"]["logistic"]["auc"]["high"]


def test_behaviour_in_folds_never_learns_from_a_customer_that_it_is_tested_on(small_shop, quick, tmp_path):
    targets.install()
    rows = tmp_path / "rows.parquet"
    call_command("evaluate", "churn", "--folds", "2", "--rounds", "5", "--predictions", str(rows))
    blend = pl.read_parquet(rows).filter(pl.col("model") == "blend")
    assert blend["customer"].is_unique().all()
    assert set(blend["test"]) == {"fold 1", "fold 2"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["buys", "--folds", "1"], "Ask for 2 folds or more"),
        (["buys", "--folds", "3", "--origins", "2024-01-01,2024-02-01"], "one origin at most"),
        (["buys", "--folds", "250"], "the rarest class has"),
        (["odd"], "has no labels to be judged by"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused(labelled, quick, arguments, sentence):
    targets.make("odd", kind="risk", options={"method": "anomaly"})
    with pytest.raises(CommandError, match=sentence):
        call_command("evaluate", *arguments)


def test_folds_are_those_that_anyone_gets_from_scikit_learn():
    labels = (np.random.default_rng(0).random(100) < 0.3).astype(int)
    ours = splits.stratified_folds(labels, 5, seed=0)
    theirs = StratifiedKFold(5, shuffle=True, random_state=0).split(np.zeros(100), labels)
    for mine, (_train, test) in zip(ours, theirs, strict=True):
        assert mine.tolist() == test.tolist()
    with pytest.raises(LearningError, match="every class"):
        splits.stratified_folds(np.array([0, 0, 0, 1]), 2, seed=0)


def test_a_total_is_promised_after_a_season_with_half_a_year_before_it(small_shop):
    shop = Shop.get()
    first = promises.first_order_day(shop)
    promised = first + dt.timedelta(days=365 + 180)
    assert promises.not_promised(promised, shop) == ""
    said = promises.not_promised(promised - dt.timedelta(days=1), shop)
    assert "are not promised" in said
    assert (first - dt.timedelta(days=1)).isoformat() in said


def _part(seed, ids):
    rng = np.random.default_rng(seed)
    truth = (rng.random(len(ids)) < 0.4).astype(float)
    frame = Frame(
        ids, np.full(len(ids), np.datetime64("2024-01-01")), pl.DataFrame({"x": truth}), {"t": truth}
    )
    good = np.clip(truth * 0.3 + rng.random(len(ids)) * 0.7, 0.01, 0.99)
    both = {name: {"t": TargetPrediction(probabilities=np.stack([1 - p, p], axis=1))}
            for name, p in (("blend", good), ("noise", rng.random(len(ids))))}  # fmt: skip
    return pooling.Part(both, frame)


def test_pooled_figures_are_the_mean_of_the_tests_and_shared_customers_widen_the_interval():
    target = Target(name="t", kind="binary")
    ids = np.arange(200, dtype=np.int64)
    shared = pooling.pooled([_part(1, ids)] * 2, [target], own="blend", rounds=200, seed=1)["t"]
    apart = pooling.pooled([_part(1, ids), _part(1, ids + 1000)], [target], own="blend", rounds=200, seed=1)[
        "t"
    ]
    one = shared["metrics"]["blend"]["auc"]
    assert one.value == pytest.approx(apart["metrics"]["blend"]["auc"].value)
    width = one.high - one.low
    other = apart["metrics"]["blend"]["auc"]
    assert width > 1.2 * (other.high - other.low), "the same people twice are no second test"
    assert shared["differences"]["noise"]["auc"].low > 0


def test_metrics_of_classes_are_those_of_scikit_learn():
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 300)
    probabilities = rng.dirichlet(np.ones(3), 300) * 0.7 + np.eye(3)[truth] * 0.3
    answer = TargetPrediction(probabilities=probabilities)
    target = Target(name="t", kind="multiclass", classes=("a", "b", "c"))
    found = {
        name: float(measure(np.ones((1, 300)))[0])
        for name, measure in evaluation.measures(target, answer, truth).items()
    }
    decided = probabilities.argmax(axis=1)
    assert found["auc"] == pytest.approx(roc_auc_score(truth, probabilities, multi_class="ovr"))
    assert found["macro_precision"] == pytest.approx(precision_score(truth, decided, average="macro"))
    assert found["weighted_f1"] == pytest.approx(f1_score(truth, decided, average="weighted"))
    two = TargetPrediction(
        probabilities=probabilities[:, :2] / probabilities[:, :2].sum(axis=1, keepdims=True)
    )
    pair = Target(name="t", kind="multiclass", classes=("no", "yes"))
    known = truth < 2
    measured = evaluation.measures(pair, two.map(lambda v: v[known]), truth[known])
    positive = np.asarray(two.probabilities)[known, 1]
    assert measured["average_precision"](np.ones((1, known.sum())))[0] == pytest.approx(
        average_precision_score(truth[known], positive)
    )
    assert evaluation.leading(pair) == "auc"
