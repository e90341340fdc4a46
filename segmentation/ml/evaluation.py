"""What a prediction is worth: every metric with its bootstrap interval, and paired differences from baselines.

Intervals: customers drawn with replacement, 95 % percentiles. Differences use the same draws for both
predictions, so what both find hard cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from segmentation.ml import curves, metrics
from segmentation.ml.metrics import Weights
from segmentation.ml.schema import Frame, LearningError, Prediction, Target, TargetPrediction, label_mask

ROUNDS = 1000
LEVELS = (0.025, 0.975)
# Classes whose own curves are kept; each is up to 400 numbers.
MOST_CURVES = 6
MIN_SUBGROUP = 50
LOWER_IS_BETTER = frozenset({"log_loss", "calibration_error", "brier", "mae", "rmse"})
# The metric that ranks models of a kind of target, and the one shown first. Classes without an order are ranked by
# how well each is told from the others (see `leading`).
PRIMARY = {"binary": "auc", "multiclass": "qwk", "value": "gini", "effect": "qini"}
UNORDERED = "auc"

Measure = Callable[[Weights], np.ndarray]
MEANS: tuple[Literal["macro", "weighted"], ...] = ("macro", "weighted")
SCORES: tuple[Literal["precision", "recall", "f1"], ...] = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Metric:
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TargetEvaluation:
    """differences: baseline -> metric -> this prediction minus the baseline, both on the same rows.

    subgroups: group -> value -> {"rows", leading metric, "low", "high"}. Curves differ by kind: see `_curves`.
    leading: the metric that ranks models of this target.
    """

    kind: str
    rows: int
    metrics: Mapping[str, Metric]
    baselines: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    differences: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    curves: Mapping[str, Any] = field(default_factory=dict)
    subgroups: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    leading: str = ""

    @property
    def primary(self) -> Metric:
        return self.metrics[self.leading or PRIMARY[self.kind]]


@dataclass(frozen=True)
class Evaluation:
    """targets: target name -> its figures; `rounds` and `seed` repeat the bootstrap exactly."""

    targets: Mapping[str, TargetEvaluation]
    rounds: int = ROUNDS
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        targets = {name: _target_from_json(values) for name, values in data["targets"].items()}
        return cls(targets=targets, rounds=data["rounds"], seed=data["seed"])


def leading(target: Target) -> str:
    """The metric that ranks models of this target."""
    return UNORDERED if target.kind == "multiclass" and not target.ordered else PRIMARY[target.kind]


def evaluate(
    prediction: Prediction,
    frame: Frame,
    targets: Sequence[Target],
    *,
    baselines: Mapping[str, Prediction] | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Evaluation:
    """Figures of `prediction` on the labels of `frame`, beside those of other predictions of the same rows."""
    found = {
        target.name: _evaluate_target(
            target, prediction[target.name], frame, _named(target, baselines or {}), rounds=rounds, seed=seed
        )
        for target in targets
    }
    return Evaluation(targets=found, rounds=rounds, seed=seed)


def with_intervals(
    wanted: Mapping[str, Measure], ids: np.ndarray, *, rounds: int, seed: int
) -> dict[str, Metric]:
    """Each measure with its 95 % interval over draws of whole customers; ids (n,) say whose each row is."""
    drawn = _drawn(wanted, metrics.bootstrap_weights(ids, rounds=rounds, seed=seed))
    return {name: interval(values) for name, values in drawn.items()}


def measures(target: Target, answer: TargetPrediction, labels: np.ndarray) -> dict[str, Measure]:
    """metric name -> function of bootstrap weights; every label must be known."""
    if target.kind == "binary":
        return _binary_measures(answer.positive, labels)
    if target.kind == "multiclass":
        return _class_measures(target, answer, labels.astype(np.int64))
    return _value_measures(answer, labels)


def prediction_rows(prediction: Prediction, frame: Frame, targets: Sequence[Target]) -> pl.DataFrame:
    """One row per row of the frame: customer_id, cutoff, and per target `<target>.label` and its answers.

    Enough for anyone to recompute every figure of the evaluation.
    """
    columns: dict[str, Any] = {"customer_id": frame.ids, "cutoff": frame.cutoffs.astype("datetime64[D]")}
    for target in targets:
        answer = prediction[target.name]
        if target.name in frame.labels:
            columns[f"{target.name}.label"] = frame.labels[target.name]
        if answer.probabilities is not None:
            names = target.classes or ("0", "1")
            for position, name in enumerate(names):
                columns[f"{target.name}.p_{name}"] = answer.probabilities[:, position]
        for name in ("decided", "mean", "median", "lower", "upper"):
            if getattr(answer, name) is not None:
                columns[f"{target.name}.{name}"] = getattr(answer, name)
    return pl.DataFrame(columns)


def _named(target: Target, baselines: Mapping[str, Prediction]) -> dict[str, TargetPrediction]:
    return {name: answers[target.name] for name, answers in baselines.items() if target.name in answers}


def _evaluate_target(
    target: Target,
    answer: TargetPrediction,
    frame: Frame,
    baselines: Mapping[str, TargetPrediction],
    *,
    rounds: int,
    seed: int,
) -> TargetEvaluation:
    known = label_mask(target, frame.labels[target.name])
    if not known.any():
        raise LearningError(f"No row to evaluate {target.name} on has a label.")
    labels = np.asarray(frame.labels[target.name])[known]
    answer = answer.map(lambda values: values[known])
    others = {name: other.map(lambda values: values[known]) for name, other in baselines.items()}
    weights = metrics.bootstrap_weights(frame.ids[known], rounds=rounds, seed=seed)
    own = _drawn(measures(target, answer, labels), weights)
    drawn = {name: _drawn(measures(target, other, labels), weights) for name, other in others.items()}
    return TargetEvaluation(
        kind=target.kind,
        rows=len(labels),
        metrics={name: interval(values) for name, values in own.items()},
        baselines={b: {name: interval(v) for name, v in values.items()} for b, values in drawn.items()},
        differences={
            baseline: {name: interval(own[name] - values[name]) for name in own if name in values}
            for baseline, values in drawn.items()
        },
        curves=_curves(target, answer, labels),
        subgroups=_subgroups(
            target,
            answer,
            labels,
            {n: v[known] for n, v in frame.groups.items()},
            ids=frame.ids[known],
            rounds=rounds,
            seed=seed,
        ),
        leading=leading(target),
    )


def _drawn(measures_: Mapping[str, Measure], weights: Weights) -> dict[str, np.ndarray]:
    """metric -> (1 + rounds,): the figure itself, then one per bootstrap draw."""
    every = np.concatenate([np.ones((1, weights.shape[1])), weights])
    return {name: metrics.in_chunks(measure, every) for name, measure in measures_.items()}


def interval(values: np.ndarray) -> Metric:
    """The first value, with the 95 % percentiles of the others."""
    low, high = np.quantile(values[1:], LEVELS) if len(values) > 1 else (values[0], values[0])
    return Metric(value=float(values[0]), low=float(low), high=float(high))


def _binary_measures(positive: np.ndarray, labels: np.ndarray) -> dict[str, Measure]:
    both = np.stack([1 - positive, positive], axis=1)
    return {
        "auc": partial(metrics.auc, labels, positive),
        "average_precision": partial(metrics.average_precision, labels, positive),
        "log_loss": partial(metrics.log_loss, labels, both),
        "calibration_error": partial(metrics.calibration_error, labels, positive),
        "brier": partial(metrics.brier, labels, positive),
    }


def _class_measures(target: Target, answer: TargetPrediction, labels: np.ndarray) -> dict[str, Measure]:
    """By the model's decision rule, and by the plain argmax for comparison."""
    if answer.probabilities is None:
        raise LearningError(f"The prediction of {target.name} holds no probabilities.")
    plain = answer.probabilities.argmax(axis=1)
    decided = plain if answer.decided is None else answer.decided
    classes = len(target.classes)
    found: dict[str, Measure] = {
        "accuracy": partial(metrics.accuracy, labels, decided),
        "macro_f1": partial(metrics.macro_f1, labels, decided, classes=classes),
        "macro_f1_argmax": partial(metrics.macro_f1, labels, plain, classes=classes),
        "qwk": partial(metrics.weighted_kappa, labels, decided, classes=classes),
        "qwk_argmax": partial(metrics.weighted_kappa, labels, plain, classes=classes),
        "log_loss": partial(metrics.log_loss, labels, answer.probabilities),
        "auc": partial(metrics.one_against_rest, labels, answer.probabilities, of=metrics.auc),
        "average_precision": partial(
            metrics.one_against_rest, labels, answer.probabilities, of=metrics.average_precision
        ),
        # Of the likeliest class: how far "80 % certain" is from right in eight of ten.
        "calibration_error": partial(
            metrics.calibration_error, (plain == labels).astype(np.float64), answer.probabilities.max(axis=1)
        ),
    }
    for mean in MEANS:
        for score in SCORES:
            if f"{mean}_{score}" not in found:
                found[f"{mean}_{score}"] = partial(
                    metrics.class_scores, labels, decided, classes=classes, score=score, mean=mean
                )
    return found


def _value_measures(answer: TargetPrediction, labels: np.ndarray) -> dict[str, Measure]:
    """The mean is judged by ranking and level, the median by absolute error, the interval by coverage."""
    if answer.mean is None:
        raise LearningError("The prediction of a value holds no mean.")
    found: dict[str, Measure] = {
        "spearman": partial(metrics.spearman, labels, answer.mean),
        "gini": partial(metrics.normalised_gini, labels, answer.mean),
        "rmse": partial(metrics.root_mean_square_error, labels, answer.mean),
        "bias": partial(metrics.bias_of_total, labels, answer.mean),
        "mae": partial(
            metrics.mean_absolute_error, labels, answer.mean if answer.median is None else answer.median
        ),
    }
    if answer.lower is not None and answer.upper is not None:
        found["coverage"] = partial(metrics.coverage, labels, answer.lower, answer.upper)
    return found


def _curves(target: Target, answer: TargetPrediction, labels: np.ndarray) -> dict[str, Any]:
    if target.kind == "binary":
        positive = answer.positive
        return {
            "roc": curves.roc(labels, positive),
            "precision_recall": curves.precision_recall(labels, positive),
            "reliability": curves.reliability(labels, positive),
            "gains": curves.gains(labels, positive, positive),
            "confusion": curves.confusion_table(labels, positive >= 0.5, classes=2),
        }
    if target.kind == "multiclass":
        decided = answer.decided
        if decided is None and answer.probabilities is not None:
            decided = answer.probabilities.argmax(axis=1)
        table = curves.confusion_table(labels, np.asarray(decided), classes=len(target.classes))
        return {
            **_class_curves(np.asarray(answer.probabilities), labels, target.classes),
            "confusion": table,
            "classes": list(target.classes),
        }
    mean = np.asarray(answer.mean)
    return {"gains": curves.gains(labels, mean, mean)}


def _class_curves(probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Of two classes those of the second; of more those of each against the others, the commonest first, and whether
    the certainty of the likeliest is honest."""
    if probabilities.shape[1] == 2:
        truth, second = (labels == 1).astype(np.float64), probabilities[:, 1]
        return {
            "roc": curves.roc(truth, second),
            "precision_recall": curves.precision_recall(truth, second),
            "reliability": curves.reliability(truth, second),
            "gains": curves.gains(truth, second, second),
        }
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    counts = np.bincount(labels.astype(np.int64), minlength=len(names))
    by_class = {}
    for place in np.argsort(-counts, kind="stable")[:MOST_CURVES]:
        if 0 < counts[place] < len(labels):
            truth = (labels == place).astype(np.float64)
            by_class[names[place]] = {
                "roc": curves.roc(truth, probabilities[:, place]),
                "precision_recall": curves.precision_recall(truth, probabilities[:, place]),
            }
    return {"reliability": curves.reliability(right, probabilities.max(axis=1)), "by_class": by_class}


def _subgroups(
    target: Target,
    answer: TargetPrediction,
    labels: np.ndarray,
    groups: Mapping[str, np.ndarray],
    *,
    ids: np.ndarray,
    rounds: int,
    seed: int,
) -> dict[str, dict[str, dict[str, float]]]:
    """The leading metric within each value of each group that has rows enough to say anything, with its interval."""
    name = leading(target)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for group, values in groups.items():
        found[group] = {}
        for value in np.unique(values.astype(str)):
            rows = values.astype(str) == value
            if rows.sum() >= MIN_SUBGROUP:
                part = answer.map(lambda array, rows=rows: array[rows])  # type: ignore[misc]
                wanted = {name: measures(target, part, labels[rows])[name]}
                figure = with_intervals(wanted, ids[rows], rounds=rounds, seed=seed)[name]
                found[group][str(value)] = {
                    "rows": int(rows.sum()),
                    name: figure.value,
                    "low": figure.low,
                    "high": figure.high,
                }
    return found


def _target_from_json(values: Mapping[str, Any]) -> TargetEvaluation:
    def table(rows: Mapping[str, Any]) -> dict[str, Metric]:
        return {name: Metric(**row) for name, row in rows.items()}

    return TargetEvaluation(
        kind=values["kind"],
        rows=values["rows"],
        metrics=table(values["metrics"]),
        baselines={name: table(rows) for name, rows in values["baselines"].items()},
        differences={name: table(rows) for name, rows in values["differences"].items()},
        curves=values["curves"],
        subgroups=values["subgroups"],
        leading=values.get("leading", ""),
    )
