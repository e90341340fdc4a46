import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as sk

from segmentation.ml import metrics

RNG = np.random.default_rng(2)
N = 400
TRUTH = (RNG.random(N) < 0.4).astype(float)
SCORE = np.round(np.clip(0.3 * TRUTH + 0.7 * RNG.random(N), 0.01, 0.99), 2)  # rounded: many ties
CLASS = RNG.integers(0, 4, N)
GUESS = np.clip(CLASS + RNG.integers(-1, 2, N), 0, 3)
SPEND = np.where(RNG.random(N) < 0.5, 0.0, RNG.lognormal(4, 1, N))
ESTIMATE = SPEND * 0.5 + RNG.lognormal(3, 1, N)
WEIGHTS = metrics.bootstrap_weights(np.arange(N), rounds=5, seed=3)
ONES = np.ones(N)


def repeated(row: int) -> np.ndarray:
    return np.repeat(np.arange(N), WEIGHTS[row].astype(int))


CASES = {
    "auc": (lambda i, w: metrics.auc(TRUTH[i], SCORE[i], w), lambda i: sk.roc_auc_score(TRUTH[i], SCORE[i])),
    "average precision": (
        lambda i, w: metrics.average_precision(TRUTH[i], SCORE[i], w),
        lambda i: sk.average_precision_score(TRUTH[i], SCORE[i]),
    ),
    "brier": (
        lambda i, w: metrics.brier(TRUTH[i], SCORE[i], w),
        lambda i: sk.brier_score_loss(TRUTH[i], SCORE[i]),
    ),
    "log-loss": (
        lambda i, w: metrics.log_loss(TRUTH[i], np.stack([1 - SCORE[i], SCORE[i]], 1), w),
        lambda i: sk.log_loss(TRUTH[i], SCORE[i]),
    ),
    "accuracy": (
        lambda i, w: metrics.accuracy(CLASS[i], GUESS[i], w),
        lambda i: sk.accuracy_score(CLASS[i], GUESS[i]),
    ),
    "macro-F1": (
        lambda i, w: metrics.macro_f1(CLASS[i], GUESS[i], w, classes=4),
        lambda i: sk.f1_score(CLASS[i], GUESS[i], average="macro"),
    ),
    "QWK": (
        lambda i, w: metrics.weighted_kappa(CLASS[i], GUESS[i], w, classes=4),
        lambda i: sk.cohen_kappa_score(CLASS[i], GUESS[i], weights="quadratic"),
    ),
    "spearman": (
        lambda i, w: metrics.spearman(SPEND[i], ESTIMATE[i], w),
        lambda i: spearmanr(SPEND[i], ESTIMATE[i])[0],
    ),
    "RMSE": (
        lambda i, w: metrics.root_mean_square_error(SPEND[i], ESTIMATE[i], w),
        lambda i: sk.root_mean_squared_error(SPEND[i], ESTIMATE[i]),
    ),
    "MAE": (
        lambda i, w: metrics.mean_absolute_error(SPEND[i], ESTIMATE[i], w),
        lambda i: sk.mean_absolute_error(SPEND[i], ESTIMATE[i]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_metric_agrees_with_scikit_learn(name):
    ours, theirs = CASES[name]
    every = np.arange(N)
    assert float(ours(every, ONES)) == pytest.approx(theirs(every), rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_weights_count_as_repeated_rows_and_many_draws_go_at_once(name):
    ours, theirs = CASES[name]
    at_once = ours(np.arange(N), WEIGHTS)
    assert at_once.shape == (5,)
    assert at_once == pytest.approx([theirs(repeated(row)) for row in range(5)], rel=1e-9)


def test_normalised_gini_is_one_for_the_truth_and_minus_one_for_its_reverse():
    spend = np.array([0.0, 1.0, 5.0, 14.0])
    ones = np.ones(4)
    assert metrics.normalised_gini(spend, spend, ones) == pytest.approx(1.0)
    assert metrics.normalised_gini(spend, -spend, ones) == pytest.approx(-1.0)


def test_normalised_gini_by_hand():
    # Best first by score: 5, 14, 0, 1. Gains 5/20, 19/20, 19/20, 1; trapezoid area minus the diagonal's half.
    spend, score = np.array([0.0, 1.0, 5.0, 14.0]), np.array([2.0, 1.0, 9.0, 8.0])
    ours = (0 + 0.25) / 8 + (0.25 + 0.95) / 8 + (0.95 + 0.95) / 8 + (0.95 + 1) / 8 - 0.5
    best = (0 + 0.7) / 8 + (0.7 + 0.95) / 8 + (0.95 + 1) / 8 + (1 + 1) / 8 - 0.5
    assert metrics.normalised_gini(spend, score, np.ones(4)) == pytest.approx(ours / best)


def test_calibration_error_by_hand():
    # Twenty rows in ten bins of two: every bin predicts 0.3 and sees one of two.
    truth = np.tile([0.0, 1.0], 10)
    assert metrics.calibration_error(truth, np.full(20, 0.3), np.ones(20)) == pytest.approx(0.2)


def test_calibration_error_of_honest_probabilities_is_small():
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    truth = (rng.random(50_000) < p).astype(float)
    assert metrics.calibration_error(truth, p, np.ones(50_000)) < 0.01


def test_bias_is_predicted_over_true_total():
    assert metrics.bias_of_total(np.array([1.0, 3.0]), np.array([2.0, 4.0]), np.ones(2)) == pytest.approx(0.5)


def test_coverage_counts_the_ends_of_the_interval():
    truth, lower, upper = np.array([0.0, 1, 2, 3]), np.array([0.0, 0, 0, 0]), np.array([0.0, 1, 1, 4])
    assert metrics.coverage(truth, lower, upper, np.ones(4)) == pytest.approx(0.75)


def test_the_bootstrap_draws_whole_customers():
    ids = np.array([7, 7, 8, 9, 9, 9])
    weights = metrics.bootstrap_weights(ids, rounds=50, seed=0)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_where_nobody_spent_no_ranking_is_a_good_one():
    score = np.random.default_rng(1).random(60)
    assert metrics.normalised_gini(np.zeros(60), score, np.ones((1, 60))) == [0.0]
