"""Metrics as plain functions of arrays, each (n,) unless said; all also take a matrix of bootstrap weights.

`weights` is (n,) or (b, n): how often each row counts. The answer has one number per row of weights, so a
thousand bootstrap rounds are one matrix product instead of a thousand loops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

Weights = np.ndarray
EPSILON = 1e-7
ECE_BINS = 10


def auc(truth: np.ndarray, score: np.ndarray, weights: Weights) -> np.ndarray:
    """Chance that a positive outranks a negative, ties counting half."""
    order, group = _ranked(score)
    positive = _per_tie(weights[..., order] * (truth[order] > 0), group)
    negative = _per_tie(weights[..., order] * (truth[order] <= 0), group)
    below = np.cumsum(negative, axis=-1) - negative
    wins = (positive * (below + 0.5 * negative)).sum(axis=-1)
    return _ratio(wins, positive.sum(axis=-1) * negative.sum(axis=-1))


def average_precision(truth: np.ndarray, score: np.ndarray, weights: Weights) -> np.ndarray:
    """Area under precision over recall, by steps: sum of (R_i - R_{i-1}) P_i from the highest score down."""
    order, group = _ranked(-score)
    positive = _per_tie(weights[..., order] * (truth[order] > 0), group)
    every = _per_tie(weights[..., order], group)
    precision = _ratio(np.cumsum(positive, axis=-1), np.cumsum(every, axis=-1))
    return _ratio((positive * precision).sum(axis=-1), positive.sum(axis=-1))


def log_loss(truth: np.ndarray, probabilities: np.ndarray, weights: Weights) -> np.ndarray:
    """probabilities (n, k) of class indices `truth`: mean of -log of the true class."""
    chosen = probabilities[np.arange(len(truth)), truth.astype(np.int64)]
    return average(-np.log(np.clip(chosen, EPSILON, 1.0)), weights)


def brier(truth: np.ndarray, probability: np.ndarray, weights: Weights) -> np.ndarray:
    return average((probability - truth) ** 2, weights)


def calibration_error(truth: np.ndarray, probability: np.ndarray, weights: Weights) -> np.ndarray:
    """Expected calibration error over ECE_BINS bins of equal size, cut on the unweighted rows."""
    bins = equal_mass_bins(probability, ECE_BINS)
    onto = np.eye(ECE_BINS)[bins]
    gap = (weights * (probability - truth)) @ onto
    return _ratio(np.abs(gap).sum(axis=-1), weights.sum(axis=-1))


def accuracy(truth: np.ndarray, decided: np.ndarray, weights: Weights) -> np.ndarray:
    return average((truth == decided).astype(np.float64), weights)


def macro_f1(truth: np.ndarray, decided: np.ndarray, weights: Weights, *, classes: int) -> np.ndarray:
    """Mean over classes of 2 TP / (2 TP + FP + FN); a class neither true nor decided counts 0."""
    table = confusion(truth, decided, weights, classes=classes)
    hits = np.einsum("...ii->...i", table)
    return _ratio(2 * hits, table.sum(axis=-1) + table.sum(axis=-2)).mean(axis=-1)


def class_scores(
    truth: np.ndarray,
    decided: np.ndarray,
    weights: Weights,
    *,
    classes: int,
    score: Literal["precision", "recall", "f1"],
    mean: Literal["macro", "weighted"],
) -> np.ndarray:
    """Precision, recall or F1 of each class, as a plain mean or weighted by how many rows truly are of it."""
    table = confusion(truth, decided, weights, classes=classes)
    hits, true, named = np.einsum("...ii->...i", table), table.sum(axis=-1), table.sum(axis=-2)
    under = {"precision": named, "recall": true, "f1": (named + true) / 2}[score]
    found = _ratio(hits, under)
    return found.mean(axis=-1) if mean == "macro" else _ratio((found * true).sum(axis=-1), true.sum(axis=-1))


def one_against_rest(
    truth: np.ndarray,
    probabilities: np.ndarray,
    weights: Weights,
    *,
    of: Callable[[np.ndarray, np.ndarray, Weights], np.ndarray],
) -> np.ndarray:
    """`of` (auc, average_precision) of each class against the others, averaged; of two classes that of the second.

    Classes that no row has are left out.
    """
    classes = probabilities.shape[1]
    wanted = [1] if classes == 2 else [k for k in range(classes) if (truth == k).any()]
    found = [of((truth == k).astype(np.float64), probabilities[:, k], weights) for k in wanted]
    return np.mean(found, axis=0)


def weighted_kappa(truth: np.ndarray, decided: np.ndarray, weights: Weights, *, classes: int) -> np.ndarray:
    """Cohen's kappa with quadratic weights (QWK) for ordered classes."""
    table = confusion(truth, decided, weights, classes=classes)
    distance = (np.arange(classes)[:, None] - np.arange(classes)[None, :]) ** 2
    total = table.sum(axis=(-1, -2))
    expected = np.einsum("...i,...j->...ij", table.sum(axis=-1), table.sum(axis=-2))
    observed_cost = (table * distance).sum(axis=(-1, -2)) * total
    return 1.0 - _ratio(observed_cost, (expected * distance).sum(axis=(-1, -2)))


def confusion(truth: np.ndarray, decided: np.ndarray, weights: Weights, *, classes: int) -> np.ndarray:
    """(..., classes, classes): row true class, column decided class."""
    onto = np.eye(classes * classes)[truth.astype(np.int64) * classes + decided.astype(np.int64)]
    return (weights @ onto).reshape(*weights.shape[:-1], classes, classes)


def spearman(truth: np.ndarray, score: np.ndarray, weights: Weights) -> np.ndarray:
    """Correlation of the weighted mid-ranks."""
    return _correlation(_weighted_ranks(truth, weights), _weighted_ranks(score, weights), weights)


def normalised_gini(truth: np.ndarray, score: np.ndarray, weights: Weights) -> np.ndarray:
    """Gain-curve area of the score over that of the truth itself (arXiv 1912.07753); 0 where nobody spent."""
    found = _ratio(_gain_area(truth, score, weights), _gain_area(truth, truth, weights))
    return np.where(weights @ truth > 0, found, 0.0)


def mean_absolute_error(truth: np.ndarray, answer: np.ndarray, weights: Weights) -> np.ndarray:
    return average(np.abs(answer - truth), weights)


def root_mean_square_error(truth: np.ndarray, answer: np.ndarray, weights: Weights) -> np.ndarray:
    return np.sqrt(average((answer - truth) ** 2, weights))


def bias_of_total(truth: np.ndarray, answer: np.ndarray, weights: Weights) -> np.ndarray:
    """Predicted total over true total, minus 1."""
    return _ratio(weights @ answer, weights @ truth) - 1.0


def coverage(truth: np.ndarray, lower: np.ndarray, upper: np.ndarray, weights: Weights) -> np.ndarray:
    """Share of truths inside [lower, upper]."""
    return average(((truth >= lower) & (truth <= upper)).astype(np.float64), weights)


def average(values: np.ndarray, weights: Weights) -> np.ndarray:
    return _ratio(weights @ values, weights.sum(axis=-1))


def equal_mass_bins(score: np.ndarray, bins: int) -> np.ndarray:
    """(n,) bin 0..bins-1 by rank of score, ties in the order of the rows."""
    ranks = np.empty(len(score), dtype=np.int64)
    ranks[np.argsort(score, kind="stable")] = np.arange(len(score))
    return ranks * bins // max(len(score), 1)


def bootstrap_weights(ids: np.ndarray, *, rounds: int, seed: int) -> Weights:
    """(rounds, n): how often each row is drawn when whole customers are drawn with replacement."""
    customers, position = np.unique(ids, return_inverse=True)
    rng = np.random.default_rng(seed)
    count = len(customers)
    drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=rounds)
    return drawn[:, position].astype(np.float64)


def in_chunks(metric: Callable[[Weights], np.ndarray], weights: Weights, *, size: int = 100) -> np.ndarray:
    """`metric` over many rows of weights, a few at a time to bound memory."""
    return np.concatenate([metric(weights[start : start + size]) for start in range(0, len(weights), size)])


def _ranked(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in rising order of score, and the first position of each run of ties."""
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    return order, starts


def _per_tie(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, starts, axis=-1)


def _weighted_ranks(values: np.ndarray, weights: Weights) -> np.ndarray:
    order, starts = _ranked(values)
    mass = _per_tie(weights[..., order], starts)
    middle = np.cumsum(mass, axis=-1) - mass / 2
    sizes = np.diff(np.append(starts, len(values)))
    ranks = np.empty(weights.shape)
    ranks[..., order] = np.repeat(middle, sizes, axis=-1)
    return ranks


def _correlation(x: np.ndarray, y: np.ndarray, weights: Weights) -> np.ndarray:
    total = weights.sum(axis=-1, keepdims=True)
    x = x - (weights * x).sum(axis=-1, keepdims=True) / total
    y = y - (weights * y).sum(axis=-1, keepdims=True) / total
    covariance = (weights * x * y).sum(axis=-1)
    return _ratio(covariance, np.sqrt((weights * x * x).sum(axis=-1) * (weights * y * y).sum(axis=-1)))


def _gain_area(truth: np.ndarray, score: np.ndarray, weights: Weights) -> np.ndarray:
    """Area between the gain curve (share of value by share of customers, best first) and the diagonal."""
    order = np.argsort(-score, kind="stable")
    mass = weights[..., order]
    gained = np.cumsum(mass * truth[order], axis=-1)
    share = _ratio(gained, gained[..., -1:])
    before = share - _ratio(mass * truth[order], gained[..., -1:])
    return _ratio((mass * (share + before) / 2).sum(axis=-1), mass.sum(axis=-1)) - 0.5


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """0 where the denominator is 0: a metric of nothing says nothing."""
    over, under = np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64)
    return np.divide(over, under, out=np.zeros(np.broadcast(over, under).shape), where=under != 0)
