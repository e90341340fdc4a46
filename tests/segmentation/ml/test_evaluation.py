import numpy as np
import orjson
import pytest
from sklearn.metrics import roc_auc_score

from segmentation.ml import curves
from segmentation.ml.evaluation import PRIMARY, Evaluation, evaluate, prediction_rows
from segmentation.ml.schema import CHURN, FUTURE_VALUE, STANDARD_TARGETS, LearningError, TargetPrediction


@pytest.fixture(scope="module")
def evaluation(shop, estimators):
    baselines = {name: estimators[name].predict(shop.test) for name in ("btyd", "logistic")}
    prediction = estimators["served"].predict(shop.test)
    return evaluate(prediction, shop.test, STANDARD_TARGETS, baselines=baselines, rounds=200, seed=4)


def test_every_figure_lies_within_its_interval(evaluation):
    for found in evaluation.targets.values():
        for name, metric in found.metrics.items():
            if name not in (
                "calibration_error",
                "macro_f1",
                "macro_f1_argmax",
            ):  # biased upwards or down by resampling
                assert metric.low <= metric.value <= metric.high, name
        assert found.primary.low < found.primary.high


def test_an_evaluation_survives_json(evaluation):
    text = orjson.dumps(evaluation.to_json())
    assert Evaluation.from_json(orjson.loads(text)).to_json() == orjson.loads(text)


def test_differences_are_paired_and_so_tighter_than_the_figures_themselves(evaluation):
    churn = evaluation.targets["churn"]
    difference = churn.differences["btyd"]["auc"]
    own, base = churn.metrics["auc"], churn.baselines["btyd"]["auc"]
    assert difference.value == pytest.approx(own.value - base.value)
    assert difference.high - difference.low < 0.8 * (own.high - own.low)


def test_a_prediction_does_not_differ_from_itself(shop, estimators):
    same = estimators["btyd"].predict(shop.test)
    found = evaluate(same, shop.test, [CHURN], baselines={"itself": same}, rounds=20)
    difference = found.targets["churn"].differences["itself"]["auc"]
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_the_same_seed_gives_the_same_figures(shop, estimators):
    prediction = estimators["btyd"].predict(shop.test)
    first, second, other = (
        evaluate(prediction, shop.test, [FUTURE_VALUE], rounds=30, seed=seed).to_json() for seed in (1, 1, 2)
    )
    assert first == second
    assert first["targets"] != other["targets"]


def test_rows_without_a_label_are_left_out(shop, estimators):
    labels = {
        **shop.test.labels,
        "churn": np.where(np.arange(len(shop.test)) < 700, shop.test.labels["churn"], np.nan),
    }
    part = type(shop.test)(shop.test.ids, shop.test.cutoffs, shop.test.x, labels)
    found = evaluate(estimators["btyd"].predict(part), part, [CHURN], rounds=5).targets["churn"]
    head = shop.test.take(np.arange(700))
    positive = estimators["btyd"].predict(head)["churn"].positive
    assert found.rows == 700
    assert found.metrics["auc"].value == pytest.approx(roc_auc_score(head.labels["churn"], positive))


def test_a_frame_without_any_label_is_refused(shop, estimators):
    labels = {**shop.test.labels, "churn": np.full(len(shop.test), np.nan)}
    part = type(shop.test)(shop.test.ids, shop.test.cutoffs, shop.test.x, labels)
    with pytest.raises(LearningError, match="churn"):
        evaluate(estimators["btyd"].predict(part), part, [CHURN])


def test_subgroups_report_the_primary_metric_where_rows_suffice(evaluation):
    countries = evaluation.targets["future_value"].subgroups["country"]
    assert set(countries) == {"GB", "DE", "FR"}
    assert countries["GB"]["rows"] > countries["FR"]["rows"] >= 50
    assert 0 < countries["GB"][PRIMARY["value"]] <= 1


def test_curves_are_small_and_hold_their_ends(evaluation):
    roc = evaluation.targets["churn"].curves["roc"]
    assert len(roc["true_positive_rate"]) <= curves.POINTS
    assert (roc["false_positive_rate"][0], roc["true_positive_rate"][0]) == (0.0, 0.0)
    assert (roc["false_positive_rate"][-1], roc["true_positive_rate"][-1]) == (1.0, 1.0)
    pr = evaluation.targets["churn"].curves["precision_recall"]
    assert len(pr["recall"]) == len(pr["precision"]) <= curves.POINTS
    assert pr["recall"][-1] == 1.0


def test_the_area_under_the_stored_roc_is_the_auc(evaluation):
    roc = evaluation.targets["churn"].curves["roc"]
    area = np.trapezoid(roc["true_positive_rate"], roc["false_positive_rate"])
    assert area == pytest.approx(evaluation.targets["churn"].metrics["auc"].value, abs=0.01)


def test_gains_end_at_everything_and_start_above_chance(evaluation):
    gains = evaluation.targets["future_value"].curves["gains"]
    assert gains[-1]["gain"] == pytest.approx(1.0)
    assert gains[0]["lift"] > 2.0
    assert sum(row["rows"] for row in gains) == evaluation.targets["future_value"].rows


def test_a_confusion_table_counts_truth_by_row():
    table = curves.confusion_table(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=2)
    assert table == [[1, 1], [0, 1]]


def test_each_class_has_curves_against_the_others(evaluation, shop):
    curves = evaluation.targets["value_tier"].curves["by_class"]
    labels = np.asarray(shop.test.labels["value_tier"])
    counts = np.bincount(labels, minlength=4)
    names = ("none", "low", "middle", "high")
    assert list(curves) == [names[place] for place in np.argsort(-counts, kind="stable")]
    for name, parts in curves.items():
        roc = parts["roc"]
        area = np.trapezoid(roc["true_positive_rate"], roc["false_positive_rate"])
        assert area > 0.55, name
        share = counts[names.index(name)] / len(labels)
        assert parts["precision_recall"]["precision"][-1] == pytest.approx(share, abs=1e-4)


def test_reliability_groups_hold_every_row(evaluation):
    groups = evaluation.targets["churn"].curves["reliability"]
    assert sum(group["rows"] for group in groups) == evaluation.targets["churn"].rows
    assert [g["predicted"] for g in groups] == sorted(g["predicted"] for g in groups)


def test_the_written_predictions_give_the_figures_back(shop, estimators, evaluation):
    rows = prediction_rows(estimators["served"].predict(shop.test), shop.test, STANDARD_TARGETS)
    auc = roc_auc_score(rows["churn.label"], rows["churn.p_1"])
    assert auc == pytest.approx(evaluation.targets["churn"].metrics["auc"].value)
    tiers = rows.select("value_tier.p_none", "value_tier.p_low", "value_tier.p_middle", "value_tier.p_high")
    assert np.allclose(tiers.to_numpy().sum(axis=1), 1.0)
    error = (rows["future_value.median"] - rows["future_value.label"]).abs().mean()
    assert error == pytest.approx(evaluation.targets["future_value"].metrics["mae"].value)


def test_a_value_without_an_interval_is_judged_without_coverage(shop):
    answer = {"future_value": TargetPrediction(mean=np.asarray(shop.test.labels["future_value"]) + 1.0)}
    found = evaluate(answer, shop.test, [FUTURE_VALUE], rounds=5).targets["future_value"]
    assert "coverage" not in found.metrics
    assert found.metrics["mae"].value == pytest.approx(1.0)
