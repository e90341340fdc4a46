import numpy as np
import pytest
from scipy.special import expit, logit

from segmentation.ml import metrics
from segmentation.ml.calibration import CalibrationVerdict, Calibrator, DecisionRule, choose_rule
from segmentation.ml.schema import CHURN, FUTURE_VALUE, VALUE_TIER, Frame, TargetPrediction
from segmentation.ml.served import ServedModel


def binary(positive):
    return TargetPrediction(probabilities=np.stack([1 - positive, positive], axis=1))


def test_platt_finds_the_distortion_it_was_given():
    rng = np.random.default_rng(0)
    honest = rng.uniform(0.05, 0.95, 40_000)
    labels = (rng.random(40_000) < honest).astype(float)
    distorted = expit(2.0 * logit(honest) + 1.0)
    found = Calibrator.fit(CHURN, binary(distorted), labels)
    assert (found.scale, found.shift) == pytest.approx((0.5, -0.5), abs=0.03)
    repaired = found.apply(binary(distorted)).positive
    assert metrics.calibration_error(labels, repaired, np.ones(40_000)) < 0.01


def test_platt_of_a_perfect_ranking_stays_finite():
    positive = np.array([0.1, 0.2, 0.8, 0.9])
    found = Calibrator.fit(CHURN, binary(positive), np.array([0.0, 0, 1, 1]))
    assert np.isfinite([found.scale, found.shift]).all()


def test_temperature_finds_the_sharpness_it_was_given():
    rng = np.random.default_rng(1)
    honest = rng.dirichlet([2, 1, 1, 1], 20_000)
    labels = (rng.random((20_000, 1)) > honest.cumsum(axis=1)).sum(axis=1)
    sharp = honest**2 / (honest**2).sum(axis=1, keepdims=True)
    found = Calibrator.fit(VALUE_TIER, TargetPrediction(probabilities=sharp), labels)
    assert found.scale == pytest.approx(0.5, abs=0.03)
    assert np.allclose(found.apply(TargetPrediction(probabilities=sharp)).probabilities.sum(axis=1), 1.0)


def test_level_scales_mean_median_and_interval_alike():
    answer = TargetPrediction(*(None, None), *(np.array([v, 2 * v]) for v in (4.0, 3.0, 1.0, 9.0)))
    found = Calibrator.fit(FUTURE_VALUE, answer, np.array([2.0, 4.0]))
    scaled = found.apply(answer)
    assert found.scale == pytest.approx(0.5)
    assert (scaled.mean[0], scaled.median[0], scaled.lower[0], scaled.upper[0]) == (2.0, 1.5, 0.5, 4.5)


@pytest.mark.parametrize(
    ("before", "after", "accepted"), [(0.60, 0.58, True), (0.60, 0.5999, False), (0.60, 0.65, False)]
)
def test_a_calibrator_stays_only_if_it_helps_on_later_rows(before, after, accepted):
    verdict = CalibrationVerdict("churn", Calibrator("platt"), "log-loss", before, after)
    assert verdict.accepted is accepted
    assert verdict.to_json()["accepted"] is accepted


def test_a_served_model_keeps_what_helps_and_drops_what_does_not(shop, estimators):
    first, second = shop.test.take(np.arange(750)), shop.test.take(np.arange(750, 1500))

    class Bold:
        """The blend with its churn made far too sure; the rest as it is."""

        name, targets, columns = "bold", estimators["blend"].targets, estimators["blend"].columns

        def predict(self, frame):
            found = dict(estimators["blend"].predict(frame))
            found["churn"] = binary(expit(4 * logit(np.clip(found["churn"].positive, 1e-6, 1 - 1e-6))))
            return found

    model = ServedModel(Bold())
    verdicts = {verdict.target: verdict for verdict in model.calibrate(first, second)}
    assert verdicts["churn"].accepted
    assert verdicts["churn"].after < verdicts["churn"].before
    assert set(model.calibrators) == {name for name, v in verdicts.items() if v.accepted}
    sure, calm = Bold().predict(second)["churn"], model.predict(second)["churn"]
    ones, truth = np.ones(750), second.labels["churn"]
    assert metrics.brier(truth, calm.positive, ones) < metrics.brier(truth, sure.positive, ones)


def test_the_rule_divides_by_the_prior_before_the_argmax():
    rule = DecisionRule(prior=(0.7, 0.1, 0.1, 0.1), power=0.7)
    p = np.array([[0.5, 0.3, 0.1, 0.1]])
    assert p.argmax() == 0
    assert rule.decide(p).tolist() == [1]
    assert DecisionRule(prior=rule.prior, power=0.0).decide(p).tolist() == [0]
    assert DecisionRule.from_json(rule.to_json()) == rule


def test_the_rule_is_taken_only_where_it_serves_on_held_out_rows():
    rng = np.random.default_rng(5)
    honest = rng.dirichlet([6, 1, 1, 1], 5000)
    labels = (rng.random((5000, 1)) > honest.cumsum(axis=1)).sum(axis=1)
    helped = choose_rule(VALUE_TIER, TargetPrediction(probabilities=honest), labels, power=0.7)
    certain = np.full((5000, 4), 0.01 / 3)
    certain[np.arange(5000), labels] = 0.99
    certain[labels == 0] = [0.55, 0.15, 0.15, 0.15]
    hurt = choose_rule(VALUE_TIER, TargetPrediction(probabilities=certain), labels, power=3.0)
    assert helped.power == 0.7
    assert hurt.power == 0.0


def test_the_prior_is_that_of_the_last_day_with_labels(shop, estimators):
    """Of the rows that set the rule, and of no later ones: nobody who is decided on shapes how."""
    loyal = shop.test.take(shop.test.x["orders_lifetime"].to_numpy() >= 4)
    rows = Frame.concat([shop.valid, loyal])
    model = ServedModel(estimators["blend"])
    rule = model.fit_rules(rows).rules["value_tier"]
    assert loyal.cutoffs.min() > shop.valid.cutoffs.max()
    mean = model.estimator.predict(loyal)["value_tier"].probabilities.mean(axis=0)
    assert rule.prior == pytest.approx(tuple(mean))
    everyone = model.estimator.predict(rows)["value_tier"].probabilities.mean(axis=0)
    assert rule.prior[0] < everyone[0] - 0.02


def test_a_served_model_decides_by_its_rule(shop, estimators):
    served = estimators["served"]
    answer = served.predict(shop.test)["value_tier"]
    assert (answer.decided == served.rules["value_tier"].decide(answer.probabilities)).all()
    alone = served.predict(shop.test.take(np.arange(1)))["value_tier"]
    assert alone.decided[0] == answer.decided[0]
