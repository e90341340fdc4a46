"""Curves behind the figures of a report, small enough to store and draw."""

from __future__ import annotations

from typing import Any

import numpy as np

from segmentation.ml.metrics import equal_mass_bins

POINTS = 100
BINS = 10


def roc(truth: np.ndarray, score: np.ndarray) -> dict[str, list[float]]:
    """false_positive_rate and true_positive_rate from the highest score down, at most POINTS points."""
    hits, alarms = _counts(truth, score)
    return _thinned(
        false_positive_rate=np.append(0.0, alarms / max(alarms[-1], 1)),
        true_positive_rate=np.append(0.0, hits / max(hits[-1], 1)),
    )


def precision_recall(truth: np.ndarray, score: np.ndarray) -> dict[str, list[float]]:
    """recall and precision from the highest score down, at most POINTS points."""
    hits, alarms = _counts(truth, score)
    return _thinned(recall=hits / max(hits[-1], 1), precision=hits / (hits + alarms))


def reliability(truth: np.ndarray, probability: np.ndarray) -> list[dict[str, float]]:
    """BINS groups of equal size by probability: mean predicted, share observed, rows."""
    bins = equal_mass_bins(probability, BINS)
    return [
        {
            "predicted": float(probability[bins == bin_].mean()),
            "observed": float(truth[bins == bin_].mean()),
            "rows": int((bins == bin_).sum()),
        }
        for bin_ in np.unique(bins)
    ]


def gains(truth: np.ndarray, score: np.ndarray, predicted: np.ndarray) -> list[dict[str, float]]:
    """Deciles from the best score down: share of all positives (or of all value) reached so far, its lift
    over an equal number of random customers, and the decile's mean predicted and actual amounts."""
    order = np.argsort(-score, kind="stable")
    total = float(truth.sum()) or 1.0
    rows, reached, seen = [], 0.0, 0
    for decile, part in enumerate(np.array_split(order, BINS), start=1):
        if not len(part):
            continue
        reached += float(truth[part].sum())
        seen += len(part)
        rows.append(
            {
                "decile": decile,
                "rows": len(part),
                "predicted": float(predicted[part].mean()),
                "actual": float(truth[part].mean()),
                "gain": reached / total,
                "lift": reached / total / (seen / len(order)),
            }
        )
    return rows


def confusion_table(truth: np.ndarray, decided: np.ndarray, *, classes: int) -> list[list[int]]:
    """Row true class, column decided class."""
    cells = truth.astype(np.int64) * classes + decided.astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).tolist()


def _counts(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative positives and negatives at each distinct score, highest first."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    hits = np.cumsum(truth[order] > 0)[ends].astype(np.float64)
    return hits, (ends + 1) - hits


def _thinned(**curves: np.ndarray) -> dict[str, Any]:
    """At most POINTS points spread over the curve, its ends included."""
    length = len(next(iter(curves.values())))
    kept = np.unique(np.linspace(0, length - 1, min(POINTS, length)).round().astype(np.int64))
    return {name: [round(float(v), 6) for v in values[kept]] for name, values in curves.items()}
