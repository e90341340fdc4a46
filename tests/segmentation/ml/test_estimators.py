"""What every learner promises, whatever is inside it."""

import numpy as np
import polars as pl
import pytest

from segmentation.ml import artifacts
from segmentation.ml.blend import Blend
from segmentation.ml.config import preset
from segmentation.ml.evaluation import evaluate
from segmentation.ml.predictor import Predictor
from segmentation.ml.schema import (
    CHURN,
    FUTURE_VALUE,
    STANDARD_TARGETS,
    Estimator,
    Frame,
    LearningError,
    Target,
    TargetPrediction,
    columns_of,
)
from tests.segmentation.ml.conftest import SMALL, fitted

NAMES = ("btyd", "logistic", "lightgbm", "fast", "default", "blend", "served")
SINGLE = NAMES[:5]

# Floors with room below what a fixed seed gives; a learner that learns nothing has .5, 0 and 0.
CHURN_AUC, TIER_QWK, VALUE_GINI = 0.72, 0.22, 0.60


def same(first, second):
    for name in first:
        for part in ("probabilities", "decided", "mean", "median", "lower", "upper"):
            a, b = getattr(first[name], part), getattr(second[name], part)
            assert (a is None) == (b is None)
            if a is not None:
                assert np.array_equal(a, b), (name, part)


@pytest.mark.parametrize("name", NAMES)
def test_an_estimator_learns(name, shop, estimators):
    found = evaluate(estimators[name].predict(shop.test), shop.test, STANDARD_TARGETS, rounds=2).targets
    assert found["churn"].primary.value > CHURN_AUC
    assert found["value_tier"].metrics["qwk_argmax"].value > TIER_QWK
    assert found["future_value"].primary.value > VALUE_GINI


@pytest.mark.parametrize("name", NAMES)
def test_an_estimator_beats_the_naive_forecast_of_the_past_going_on(name, shop, estimators):
    past = shop.test.x.select(pl.col("orders_lifetime") * pl.col("basket") / pl.col("tenure_days") * 90)
    naive = {"future_value": TargetPrediction(mean=past.to_series().to_numpy())}
    prediction = estimators[name].predict(shop.test)
    found = evaluate(prediction, shop.test, [FUTURE_VALUE], baselines={"naive": naive}, rounds=200, seed=1)
    difference = found.targets["future_value"].differences["naive"]
    assert difference["spearman"].low > 0
    assert difference["mae"].high < 0


@pytest.mark.parametrize("name", NAMES)
def test_answers_have_their_shapes_and_bounds(name, shop, estimators):
    prediction = estimators[name].predict(shop.test)
    rows = len(shop.test)
    assert prediction["churn"].probabilities.shape == (rows, 2)
    assert prediction["value_tier"].probabilities.shape == (rows, 4)
    for target in ("churn", "value_tier"):
        assert np.allclose(prediction[target].probabilities.sum(axis=1), 1.0, atol=1e-9)
        assert (prediction[target].probabilities >= 0).all()
    value = prediction["future_value"]
    assert (value.mean >= 0).all()
    assert (value.lower <= value.median).all()
    assert (value.median <= value.upper).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_value_interval_covers_about_what_it_says(name, shop, estimators):
    value, truth = estimators[name].predict(shop.test)["future_value"], shop.test.labels["future_value"]
    covered = ((truth >= value.lower) & (truth <= value.upper)).mean()
    assert 0.72 < covered < 0.97


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_estimator_answers_as_before(name, shop, estimators, tmp_path):
    artifacts.save(estimators[name], tmp_path / "artifact")
    again = artifacts.load(tmp_path / "artifact")
    assert isinstance(again, Estimator)
    assert again.targets == estimators[name].targets
    assert again.columns == estimators[name].columns
    same(estimators[name].predict(shop.test), again.predict(shop.test))


@pytest.mark.parametrize("name", NAMES)
def test_one_customer_and_a_batch_agree_exactly(name, shop, estimators):
    predictor = Predictor(estimators[name])
    batch = predictor.predict(shop.test)
    for row in (0, 1, 255, 256, 700, len(shop.test) - 1):
        alone = predictor.predict(shop.test.take(np.array([row])))
        same(alone, {n: answer.map(lambda v, row=row: v[row : row + 1]) for n, answer in batch.items()})


@pytest.mark.parametrize("name", ["fast", "lightgbm"])
def test_order_and_company_do_not_change_an_answer(name, shop, estimators):
    order = np.random.default_rng(0).permutation(len(shop.test))[:613]
    shuffled = Predictor(estimators[name]).predict(shop.test.take(order))
    whole = Predictor(estimators[name]).predict(shop.test)
    same(shuffled, {n: answer.map(lambda v: v[order]) for n, answer in whole.items()})


@pytest.mark.parametrize("name", NAMES)
def test_no_customers_get_no_answers(name, shop, estimators):
    prediction = estimators[name].predict(shop.test.take(np.zeros(len(shop.test), dtype=bool)))
    assert prediction["churn"].probabilities.shape == (0, 2)
    assert len(prediction["future_value"].median) == 0


@pytest.mark.parametrize("name", SINGLE)
def test_odd_inputs_still_get_finite_answers(name, shop, estimators):
    odd = shop.test.take(np.arange(8))
    bad = [np.inf, -np.inf, np.nan, 1e300, -1e300, 0.0, None, -1.0]
    numeric = [c.name for c in shop.columns if c.kind == "numeric"]
    x = odd.x.with_columns(
        *(pl.Series(column, bad, dtype=pl.Float64) for column in numeric),
        pl.Series("country", ["Mars", None] * 4, dtype=pl.String),
    )
    prediction = estimators[name].predict(Frame(odd.ids, odd.cutoffs, x))
    assert np.isfinite(prediction["churn"].probabilities).all()
    assert np.isfinite(prediction["value_tier"].probabilities).all()
    value = prediction["future_value"]
    assert np.isfinite([value.mean, value.median, value.lower, value.upper]).all()


@pytest.mark.parametrize("name", ["lightgbm", "fast"])
def test_the_same_data_and_seed_give_the_same_model(name, shop, estimators):
    same(fitted(name, shop, ensemble=4).predict(shop.test), estimators[name].predict(shop.test))


def test_another_seed_gives_another_network(shop, estimators):
    other = fitted("fast", shop, seed=2, epochs=1).predict(shop.test)
    assert not np.array_equal(
        other["churn"].positive, estimators["fast"].predict(shop.test)["churn"].positive
    )


@pytest.mark.parametrize("name", ["logistic", "lightgbm", "mlp"])
def test_a_cancelled_fit_stops(name, shop):
    estimator = artifacts.create(
        name, targets=STANDARD_TARGETS, columns=shop.columns, config=preset("fast", **SMALL)
    )

    class Cancelled(Exception):
        pass

    seen = []

    def cancel(report):
        seen.append(report)
        raise Cancelled

    with pytest.raises(Cancelled):
        estimator.fit(shop.train, shop.valid, on_epoch_end=cancel)
    assert len(seen) == 1
    assert seen[0].estimator == name


@pytest.mark.parametrize("name", ["logistic", "lightgbm", "mlp"])
def test_progress_never_passes_its_end(name, shop):
    reports = []
    settings = {**SMALL, "epochs": 2, "boosting_rounds": 25}
    estimator = artifacts.create(
        name, targets=STANDARD_TARGETS, columns=shop.columns, config=preset("fast", **settings)
    )
    estimator.fit(shop.train, shop.valid, on_epoch_end=reports.append)
    steps = [report.epoch for report in reports]
    assert steps == sorted(set(steps))
    assert all(0 < report.epoch <= report.epochs for report in reports)


@pytest.mark.parametrize("name", ["logistic", "lightgbm", "mlp"])
def test_rows_without_a_label_are_not_learned_from(name, shop):
    def learned(frame):
        targets = [CHURN, FUTURE_VALUE]
        config = preset("fast", **{**SMALL, "epochs": 1, "boosting_rounds": 5})
        estimator = artifacts.create(name, targets=targets, columns=shop.columns, config=config)
        return estimator.fit(frame, shop.valid).predict(shop.test)

    unknown = np.arange(len(shop.train)) % 3 == 0
    labels = {n: np.where(unknown, np.nan, values) for n, values in shop.train.labels.items()}
    wrong = {n: np.where(unknown, 1.0 - values, values) for n, values in shop.train.labels.items()}
    masked = learned(Frame(shop.train.ids, shop.train.cutoffs, shop.train.x, labels))
    spoiled = learned(
        Frame(
            shop.train.ids,
            shop.train.cutoffs,
            shop.train.x,
            wrong | {"future_value": shop.train.labels["future_value"]},
        )
    )
    assert np.isfinite(masked["churn"].probabilities).all()
    assert not np.allclose(masked["churn"].positive, spoiled["churn"].positive)


@pytest.mark.parametrize("name", ["logistic", "lightgbm", "mlp"])
def test_a_plain_labelled_table_without_orders_can_be_learned(name):
    rng = np.random.default_rng(6)
    rows = 600
    x = pl.DataFrame({"age": rng.normal(40, 10, rows), "plan": rng.choice(["a", "b", "c"], rows)})
    truth = np.where(x["plan"].to_numpy() == "a", 2, (x["age"].to_numpy() > 40).astype(int))
    kind = Target(name="kind", kind="multiclass", classes=("young", "old", "plan a"))
    frame = Frame(np.arange(rows), np.full(rows, np.datetime64("2024-01-01")), x, {"kind": truth})
    settings = {**SMALL, "epochs": 30, "learning_rate": 1e-2, "batch_size": 64}
    estimator = artifacts.create(
        name, targets=[kind], columns=columns_of(x), config=preset("fast", **settings)
    )
    estimator.fit(frame.take(np.arange(400)), frame.take(np.arange(400, 500)))
    decided = estimator.predict(frame.take(np.arange(500, 600)))["kind"].decided
    assert (decided == truth[500:]).mean() > 0.85


def test_btyd_says_which_columns_it_lacks(shop):
    frame = Frame(
        shop.train.ids, shop.train.cutoffs, shop.train.x.drop("btyd_expected_spend"), shop.train.labels
    )
    with pytest.raises(LearningError, match="btyd_expected_spend"):
        artifacts.create("btyd", targets=[CHURN], columns=()).fit(frame, frame)


def test_btyd_corrects_the_level_of_the_posterior_value(shop):
    halved = shop.train.x.with_columns(pl.col("btyd_value_90d") / 2)
    frame = Frame(shop.train.ids, shop.train.cutoffs, halved, shop.train.labels)
    estimator = artifacts.create("btyd", targets=[FUTURE_VALUE], columns=()).fit(frame, frame)
    total = estimator.predict(frame)["future_value"].mean.sum()
    assert total == pytest.approx(shop.train.labels["future_value"].sum(), rel=1e-9)


def test_a_blend_is_the_mean_of_its_members_and_names_them(shop, estimators):
    blend = estimators["blend"]
    answers = [member.predict(shop.test) for member in blend.members]
    mean = np.mean([answer["churn"].positive for answer in answers], axis=0)
    assert blend.member_names == ("btyd", "lightgbm", "mlp")
    assert np.allclose(blend.predict(shop.test)["churn"].positive, mean, atol=0)


def test_a_blend_of_members_with_other_targets_is_refused(estimators, shop):
    other = artifacts.create("logistic", targets=[CHURN], columns=shop.columns)
    with pytest.raises(LearningError, match="other targets"):
        Blend([estimators["btyd"], other])
    with pytest.raises(LearningError, match="at least one"):
        Blend([])


def test_learning_needs_a_buyer(shop):
    labels = {**shop.train.labels, "future_value": np.zeros(len(shop.train))}
    frame = Frame(shop.train.ids, shop.train.cutoffs, shop.train.x, labels)
    with pytest.raises(LearningError, match="positive value"):
        artifacts.create("mlp", targets=[FUTURE_VALUE], columns=shop.columns).fit(frame, frame)
