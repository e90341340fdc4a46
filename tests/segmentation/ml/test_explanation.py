import numpy as np
import pytest
from scipy.special import logit

from segmentation.ml import explanation
from segmentation.ml.schema import Frame, LearningError

NAMES = ("btyd", "logistic", "lightgbm", "fast", "default", "blend", "served")


@pytest.fixture(scope="module")
def few(shop) -> Frame:
    return shop.test.take(np.arange(60))


@pytest.mark.parametrize("target", ["churn", "future_value"])
@pytest.mark.parametrize("name", NAMES)
def test_reasons_are_the_largest_shares_first(name, target, few, estimators):
    reasons = explanation.explain(estimators[name], few, target=target, top=3)
    assert len(reasons) == len(few)
    for row in reasons:
        sizes = [abs(reason.contribution) for reason in row]
        assert 0 < len(row) <= 3
        assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("name", ["logistic", "lightgbm", "fast", "default"])
def test_noise_is_no_leading_reason(name, few, estimators):
    names, shares = explanation.contributions(estimators[name], few, target="churn")
    size = dict(zip(names, np.abs(shares).mean(axis=0), strict=True))
    assert size["noise"] < max(size["recency_days"], size["btyd_expected_orders_90d"])


def test_tree_shares_add_up_to_the_log_odds(few, estimators):
    model = estimators["lightgbm"]
    _, shares = explanation.contributions(model, few, target="churn")
    raw = logit(model.predict(few)["churn"].positive)
    start = raw - shares.sum(axis=1)
    assert np.allclose(start, start[0], atol=1e-6)


def test_integrated_gradients_add_up_to_the_change_from_the_median_customer(few, estimators):
    model = estimators["fast"]
    same_country = few.take(few.x["country"].to_numpy() == "GB")
    names, shares = explanation.contributions(model, same_country, target="churn")
    country = names.index("country")
    moved = np.delete(shares, country, axis=1).sum(axis=1)
    raw = logit(model.predict(same_country)["churn"].positive)
    start = raw - moved
    assert np.abs(start - np.median(start)).max() < 0.1 * np.ptp(raw)


def test_linear_shares_add_up_to_the_log_odds(few, estimators):
    model = estimators["logistic"]
    _, shares = explanation.contributions(model, few, target="churn")
    start = logit(model.predict(few)["churn"].positive) - shares.sum(axis=1)
    assert np.allclose(start, start[0], atol=1e-8)


def test_a_blend_takes_the_mean_of_its_members_shares(few, estimators):
    names, shares = explanation.contributions(estimators["blend"], few, target="churn")
    mean = np.zeros_like(shares)
    for member in estimators["blend"].members:
        own, part = explanation.contributions(member, few, target="churn")
        mean[:, [names.index(name) for name in own]] += part / 3
    assert np.allclose(shares, mean)


def test_the_method_is_named(estimators):
    assert explanation.method(estimators["fast"]) == "integrated gradients from the median customer"
    assert explanation.method(estimators["served"]).count(";") == 2


def test_a_target_with_classes_is_explained_for_one_of_them(few, estimators):
    with pytest.raises(LearningError, match="value_tier"):
        explanation.explain(estimators["logistic"], few, target="value_tier")


@pytest.mark.parametrize("name", NAMES)
def test_what_speaks_for_the_best_class_speaks_against_the_worst(name, few, estimators):
    model = estimators[name]
    classes = next(target for target in model.targets if target.name == "value_tier").class_count
    names, best = explanation.contributions(model, few, target="value_tier", of_class=classes - 1)
    _, worst = explanation.contributions(model, few, target="value_tier", of_class=0)
    recent = names.index("btyd_expected_orders_90d")
    assert np.corrcoef(best[:, recent], worst[:, recent])[0, 1] < 0


def test_tree_shares_of_a_class_add_up_to_its_log_odds_against_the_others(few, estimators):
    model = estimators["lightgbm"]
    _, shares = explanation.contributions(model, few, target="value_tier", of_class=1)
    logs = np.log(model.predict(few)["value_tier"].probabilities)
    start = logs[:, 1] - np.delete(logs, 1, axis=1).mean(axis=1) - shares.sum(axis=1)
    assert np.allclose(start, start[0], atol=1e-6)


def test_linear_shares_of_a_class_add_up_to_its_log_odds_against_the_others(few, estimators):
    model = estimators["logistic"]
    _, shares = explanation.contributions(model, few, target="value_tier", of_class=0)
    logs = np.log(model.predict(few)["value_tier"].probabilities)
    start = logs[:, 0] - np.delete(logs, 0, axis=1).mean(axis=1) - shares.sum(axis=1)
    assert np.allclose(start, start[0], atol=1e-8)
