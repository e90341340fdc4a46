"""The plain figures of one answer on the test rows, the same for every family, for one table beside others."""

from __future__ import annotations

from typing import Any

import numpy as np

from segmentation.ml import curves, metrics
from segmentation.ml.schema import Frame, Target, TargetPrediction, label_mask

ROC_POINTS = 41


def figures(target: Target, answer: TargetPrediction, frame: Frame) -> dict[str, Any]:
    """metric -> value; of classes also "roc", the mean over classes of one against the others, as [[x, y], …]."""
    labels = np.asarray(frame.labels[target.name])
    known = label_mask(target, labels)
    if not known.any():
        return {}
    answer, labels = answer.map(lambda values: values[known]), labels[known]
    if target.kind == "value":
        return _value_figures(answer, labels)
    return _class_figures(target, answer, labels.astype(np.int64))


def _class_figures(target: Target, answer: TargetPrediction, labels: np.ndarray) -> dict[str, Any]:
    chances = np.asarray(answer.probabilities)
    decided = chances.argmax(axis=1) if answer.decided is None else np.asarray(answer.decided)
    if target.kind == "binary":
        decided = (chances[:, 1] >= 0.5).astype(np.int64)
    one, classes = np.ones((1, len(labels))), target.class_count
    table = metrics.confusion(labels, decided, one, classes=classes)[0]
    found = {
        "accuracy": metrics.accuracy(labels, decided, one)[0],
        **_precision_recall(table),
        "qwk": metrics.weighted_kappa(labels, decided, one, classes=classes)[0],
        "log_loss": metrics.log_loss(labels, chances, one)[0],
    }
    if target.kind == "binary":
        found["auc"] = metrics.auc(labels, chances[:, 1], one)[0]
        found["calibration_error"] = metrics.calibration_error(labels, chances[:, 1], one)[0]
    else:
        present = [k for k in range(classes) if 0 < (labels == k).sum() < len(labels)]
        found["auc"] = np.mean(
            [metrics.auc((labels == k).astype(float), chances[:, k], one)[0] for k in present] or [0.5]
        )
        # How far the chance of the class named first is from how often it is right.
        top = chances.argmax(axis=1)
        right = (labels == top).astype(float)
        found["calibration_error"] = metrics.calibration_error(right, chances.max(axis=1), one)[0]
    rounded: dict[str, Any] = {name: round(float(value), 6) for name, value in found.items()}
    return rounded | {"roc": _mean_roc(target, chances, labels)}


def _precision_recall(table: np.ndarray) -> dict[str, float]:
    """Of a confusion table (row true, column decided), over classes alike and by how many rows each has."""
    hits, truth, named = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    precision = hits / np.maximum(named, 1e-12) * (named > 0)
    recall = hits / np.maximum(truth, 1e-12) * (truth > 0)
    f1 = 2 * hits / np.maximum(truth + named, 1e-12)
    share = truth / max(truth.sum(), 1e-12)
    found = {}
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        found[f"macro_{name}"] = float(values.mean())
        found[f"weighted_{name}"] = float(values @ share)
    return found


def _value_figures(answer: TargetPrediction, labels: np.ndarray) -> dict[str, Any]:
    one, mean = np.ones((1, len(labels))), np.asarray(answer.mean)
    guess = mean if answer.median is None else answer.median
    found = {
        "gini": metrics.normalised_gini(labels, mean, one)[0],
        "spearman": metrics.spearman(labels, mean, one)[0],
        "mae": metrics.mean_absolute_error(labels, guess, one)[0],
        "rmse": metrics.root_mean_square_error(labels, mean, one)[0],
        "bias": metrics.bias_of_total(labels, mean, one)[0],
    }
    if answer.lower is not None and answer.upper is not None:
        found["coverage"] = metrics.coverage(labels, answer.lower, answer.upper, one)[0]
    gains = curves.gains(labels, mean, mean)
    points = [[0.0, 0.0], *([part["decile"] / len(gains), round(part["gain"], 4)] for part in gains)]
    rounded: dict[str, Any] = {name: round(float(value), 6) for name, value in found.items()}
    return rounded | {"gains": points}


def _mean_roc(target: Target, chances: np.ndarray, labels: np.ndarray) -> list[list[float]]:
    asked = [1] if target.kind == "binary" else range(chances.shape[1])
    grid = np.linspace(0.0, 1.0, ROC_POINTS)
    found = []
    for k in asked:
        truth = (labels == k).astype(np.float64)
        if 0 < truth.sum() < len(truth):
            curve = curves.roc(truth, chances[:, k])
            found.append(np.interp(grid, curve["false_positive_rate"], curve["true_positive_rate"]))
    if not found:
        return []
    mean = np.mean(found, axis=0)
    return [[round(float(x), 4), round(float(y), 4)] for x, y in zip(grid, mean, strict=True)]
