"""Every algorithm that can be asked for by name: it learns, is stored without code, and answers as it did."""

import json
from functools import cache

import numpy as np
import pytest

from segmentation.ml import artifacts, explanation, families
from segmentation.ml.config import LABELLED, TrainingConfig, for_labels, preset
from segmentation.ml.evaluation import evaluate
from segmentation.ml.predictor import Predictor
from segmentation.ml.schema import STANDARD_TARGETS, LearningError, TargetPrediction
from tests.segmentation.ml.conftest import created
from tests.segmentation.ml.test_estimators import same

# Tested with all others in test_estimators.py.
ELSEWHERE = {"btyd", "logistic", "lightgbm", "mlp", "tabm"}
NAMES = [name for name in families.FAMILIES if name not in ELSEWHERE]


@pytest.fixture(scope="module")
def trained(shop):
    return cache(lambda name: created(name, shop).fit(shop.train, shop.valid))


def shares(shop):
    """The trivial forecast: everybody gets the shares of the training rows, and the mean spend."""
    rows, labels = len(shop.test), shop.train.labels
    churn, tiers = labels["churn"].mean(), np.bincount(labels["value_tier"]) / len(shop.train)
    spend = labels["future_value"]
    return {
        "churn": TargetPrediction(probabilities=np.tile([1 - churn, churn], (rows, 1))),
        "value_tier": TargetPrediction(probabilities=np.tile(tiers, (rows, 1))),
        "future_value": TargetPrediction(
            mean=np.full(rows, spend.mean()), median=np.full(rows, np.median(spend))
        ),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_family_beats_the_shares_of_the_past(name, shop, trained):
    prediction = trained(name).predict(shop.test)
    found = evaluate(prediction, shop.test, STANDARD_TARGETS, baselines={"trivial": shares(shop)}, rounds=100)
    for target in ("churn", "value_tier"):
        # A single tree's leaves are no chances until they are calibrated; it is judged by ranking alone.
        if name != "decision_tree":
            assert found.targets[target].differences["trivial"]["log_loss"].high < 0, target
    assert found.targets["churn"].differences["trivial"]["auc"].low > 0.05
    assert found.targets["future_value"].differences["trivial"]["gini"].low > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_a_family_answers_as_before_when_it_is_read_back(name, shop, trained, tmp_path):
    artifacts.save(trained(name), tmp_path / "artifact")
    files = [path.suffix for path in (tmp_path / "artifact").rglob("*") if path.is_file()]
    assert set(files) == {".json", ".safetensors"}
    again = Predictor.load(tmp_path / "artifact")
    same(Predictor(trained(name)).predict(shop.test), again.predict(shop.test))


@pytest.mark.parametrize("name", NAMES)
def test_a_family_answers_for_one_customer_as_in_a_batch(name, shop, trained):
    predictor = Predictor(trained(name))
    batch = predictor.predict(shop.test)
    for row in (0, 63, 64, len(shop.test) - 1):
        alone = predictor.predict(shop.test.take(np.array([row])))
        same(alone, {n: answer.map(lambda v, row=row: v[row : row + 1]) for n, answer in batch.items()})


@pytest.mark.parametrize("name", NAMES)
def test_a_family_answers_in_bounds_and_for_nobody(name, shop, trained):
    prediction = trained(name).predict(shop.test)
    for target in ("churn", "value_tier"):
        chances = prediction[target].probabilities
        assert np.allclose(chances.sum(axis=1), 1.0, atol=1e-9)
        assert (chances >= 0).all()
    value = prediction["future_value"]
    assert (value.lower <= value.median).all()
    assert (value.median <= value.upper).all()
    assert (value.mean >= 0).all()
    nobody = trained(name).predict(shop.test.take(np.zeros(0, dtype=np.int64)))
    assert nobody["value_tier"].probabilities.shape == (0, 4)


def test_all_stands_for_every_algorithm_that_fits():
    assert families.chosen(["all"]) == tuple(families.FAMILIES)
    assert set(families.FAMILIES) - set(families.chosen(["all"], with_orders=False)) == {"rfm", "btyd"}
    assert families.chosen(["gru", "btyd"]) == ("btyd", "gru")


def test_an_unknown_algorithm_is_refused_with_the_names_there_are():
    with pytest.raises(LearningError, match=r"called xgboost\. Choose from: rfm, btyd"):
        families.chosen(["xgboost", "gru"])
    with pytest.raises(LearningError, match="rfm reads order history"):
        families.chosen(["rfm"], with_orders=False)


def test_what_a_run_sets_itself_comes_before_what_a_family_would_set():
    config = preset("default", epochs=3)
    assert families.config_of("mlp", config, given=["epochs"]).epochs == 3
    assert families.config_of("mlp", config).hidden == (256, 128)
    assert families.config_of("mlp", config).network == "mlp"


def test_of_a_labelled_table_every_network_but_a_slow_one_makes_as_many_passes_as_the_run_says():
    config = for_labels(preset("default"))
    networks = [name for name, family in families.FAMILIES.items() if family.network]
    passes = {name: families.config_of(name, config, labelled=True).epochs for name in networks}
    assert passes.pop("ft_transformer") == families.FAMILIES["ft_transformer"].settings["epochs"]
    assert set(passes.values()) == {LABELLED["epochs"]}
    assert families.config_of("gru", config).epochs == families.FAMILIES["gru"].settings["epochs"]


def test_a_setting_that_does_not_exist_is_refused_and_versions_from_before_are_read():
    with pytest.raises(LearningError, match="optimiser can be adamw, sgd, rmsprop; it is “adam”"):
        TrainingConfig(optimiser="adam")
    old = json.loads(json.dumps({"preset": "default", "network": "tabm", "hidden": [64, 64]}))
    assert TrainingConfig.from_json(old).imbalance == "none"


# --- what serves is our own arithmetic; scikit-learn's is the oracle


def inputs(estimator, frame):
    return estimator.inputs(frame)


@pytest.mark.parametrize("name", ["decision_tree", "random_forest"])
def test_our_trees_answer_like_those_of_scikit_learn(name, shop, monkeypatch):
    from sklearn import ensemble, tree

    kept = []
    for module, kind in (
        (tree, "DecisionTreeClassifier"),
        (tree, "DecisionTreeRegressor"),
        (ensemble, "RandomForestClassifier"),
        (ensemble, "RandomForestRegressor"),
    ):
        original = getattr(module, kind)

        def keep(original=original, **settings):
            kept.append(original(**settings))
            return kept[-1]

        monkeypatch.setattr(module, kind, keep)
    estimator = created(name, shop).fit(shop.train, shop.valid)
    x = estimator.inputs(shop.test)
    churn, tier, _buys, log = kept
    assert np.allclose(estimator.models_["churn"].predict(x), churn.predict_proba(x), atol=1e-12)
    assert np.allclose(estimator.models_["value_tier"].predict(x), tier.predict_proba(x), atol=1e-12)
    assert np.allclose(estimator.models_["future_value.log"].predict(x), log.predict(x), atol=1e-9)


def test_our_support_vectors_give_the_margins_of_scikit_learn(shop, monkeypatch):
    from sklearn import svm

    kept = []
    for kind in ("SVC", "SVR"):
        original = getattr(svm, kind)

        def keep(original=original, **settings):
            kept.append(original(**settings))
            return kept[-1]

        monkeypatch.setattr(svm, kind, keep)
    estimator = created("rbf_svm", shop, kernel_rows=500).fit(shop.train, shop.valid)
    x = estimator.inputs(shop.test)
    churn, tier, _buys, log = kept
    for model, fitted in ((estimator.models_["churn"], churn), (estimator.models_["value_tier"], tier)):
        margins = model.margins
        scaled = (x - margins.centre) / margins.spread
        expected = fitted.decision_function(scaled).reshape(len(x), -1)
        assert np.allclose(margins.margins(x), expected, atol=1e-8)
    assert len(churn.support_) <= 500
    log_margins = estimator.models_["future_value.log"].margins
    scaled = (x - log_margins.centre) / log_margins.spread
    assert np.allclose(estimator.models_["future_value.log"].predict(x), log.predict(scaled), atol=1e-8)


def test_the_chances_of_a_support_vector_machine_are_about_as_frequent_as_they_say(shop, trained):
    found = evaluate(trained("linear_svm").predict(shop.test), shop.test, STANDARD_TARGETS, rounds=2)
    assert found.targets["churn"].metrics["calibration_error"].value < 0.06


@pytest.mark.parametrize("name", ["customer_net", "random_forest", "gru"])
def test_reasons_are_given_for_columns_and_for_events_alone(shop, trained, name):
    few = shop.test.take(np.arange(5))
    names, found = explanation.contributions(trained(name), few, target="churn")
    assert found.shape == (5, len(names))
    assert np.abs(found).sum() > 0
