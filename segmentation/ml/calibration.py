"""Calibrators of the served model, kept only where they help on later rows, and its rule for classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit, softmax

from segmentation.ml import metrics
from segmentation.ml.schema import Frame, Prediction, Target, TargetPrediction, label_mask

EPSILON = 1e-6
# A gain this small on the later rows is noise; a calibrator must earn its place.
MIN_GAIN = 5e-4


@dataclass(frozen=True)
class Calibrator:
    """platt: p -> expit(scale logit p + shift). temperature: p -> softmax(scale log p). level: value * scale."""

    kind: str
    scale: float = 1.0
    shift: float = 0.0

    @classmethod
    def fit(cls, target: Target, answer: TargetPrediction, labels: np.ndarray) -> Self:
        known = label_mask(target, labels)
        if target.kind == "value":
            return cls("level", scale=_level(answer, labels, known))
        probabilities = _probabilities(answer)[known]
        if target.kind == "binary":
            scale, shift = _platt(probabilities[:, 1], labels[known])
            return cls("platt", scale=scale, shift=shift)
        return cls("temperature", scale=_temperature(probabilities, labels[known]))

    def apply(self, answer: TargetPrediction) -> TargetPrediction:
        if self.kind == "level":
            return answer.map(lambda values: values * self.scale)
        probabilities = np.clip(_probabilities(answer), EPSILON, 1 - EPSILON)
        if self.kind == "platt":
            positive = expit(self.scale * logit(probabilities[:, 1]) + self.shift)
            changed = np.stack([1 - positive, positive], axis=1)
        else:
            changed = softmax(self.scale * np.log(probabilities), axis=1)
        return TargetPrediction(probabilities=changed, decided=changed.argmax(axis=1))

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "scale": self.scale, "shift": self.shift}


@dataclass(frozen=True)
class CalibrationVerdict:
    """What a calibrator did on rows later than those it was fitted on, and whether it stays.

    measure: log-loss of classes, |bias of the total| of values; lower is better.
    """

    target: str
    calibrator: Calibrator
    measure: str
    before: float
    after: float

    @property
    def accepted(self) -> bool:
        return self.after < self.before - MIN_GAIN

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "calibrator": self.calibrator.to_json(),
            "measure": self.measure,
            "before": self.before,
            "after": self.after,
            "accepted": self.accepted,
        }


def judge(
    target: Target, *, fit_on: tuple[Prediction, Frame], check_on: tuple[Prediction, Frame]
) -> CalibrationVerdict:
    """Fit on one labelled cutoff that the model did not learn from, judge on the next one."""
    answer, frame = fit_on
    calibrator = Calibrator.fit(target, answer[target.name], frame.labels[target.name])
    later, later_frame = check_on
    labels = np.asarray(later_frame.labels[target.name])
    before = _measure(target, later[target.name], labels)
    after = _measure(target, calibrator.apply(later[target.name]), labels)
    measure = "bias of the total" if target.kind == "value" else "log-loss"
    return CalibrationVerdict(target.name, calibrator, measure, before, after)


@dataclass(frozen=True)
class DecisionRule:
    """Which class to name: argmax of probability / prior^power. Power 0 is the plain argmax.

    `prior` (k,) is the model's mean prediction over a population, fixed with the model: a rule that
    followed the batch would decide one customer differently in another batch.
    """

    prior: tuple[float, ...]
    power: float

    @classmethod
    def fit(cls, probabilities: np.ndarray, *, power: float) -> Self:
        return cls(tuple(float(p) for p in np.maximum(probabilities.mean(axis=0), EPSILON)), power)

    def with_prior_of(self, probabilities: np.ndarray) -> DecisionRule:
        """The same rule with the prior of another population's (n, k) predictions."""
        return DecisionRule.fit(probabilities, power=self.power)

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """(n, k) -> (n,) class index, from probabilities rounded so that their last bits cannot decide."""
        return (np.round(probabilities, 6) / np.array(self.prior) ** self.power).argmax(axis=1)

    def to_json(self) -> dict[str, Any]:
        return {"prior": list(self.prior), "power": self.power}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(tuple(data["prior"]), data["power"])


def choose_rule(
    target: Target, answer: TargetPrediction, labels: np.ndarray, *, power: float
) -> DecisionRule:
    """The prior-corrected rule if it finds the classes at least as well as the argmax on held-out rows.

    Judged by the sum of macro-F1 (rare classes found at all) and, for ordered classes, QWK.
    """
    known = label_mask(target, labels)
    probabilities, truth = _probabilities(answer)[known], labels[known].astype(np.int64)
    rules = [DecisionRule.fit(probabilities, power=value) for value in (power, 0.0)]

    def worth(rule: DecisionRule) -> float:
        weights, decided = np.ones(len(truth)), rule.decide(probabilities)
        classes = len(target.classes)
        f1 = metrics.macro_f1(truth, decided, weights, classes=classes)
        kappa = metrics.weighted_kappa(truth, decided, weights, classes=classes) if target.ordered else 0.0
        return float(f1 + kappa)

    return max(rules, key=worth)


def _measure(target: Target, answer: TargetPrediction, labels: np.ndarray) -> float:
    known = label_mask(target, labels)
    weights = np.ones(int(known.sum()))
    if target.kind == "value":
        mean = answer.mean[known] if answer.mean is not None else np.zeros(len(weights))
        return abs(float(metrics.bias_of_total(labels[known], mean, weights)))
    return float(metrics.log_loss(labels[known], _probabilities(answer)[known], weights))


def _probabilities(answer: TargetPrediction) -> np.ndarray:
    if answer.probabilities is None:
        raise ValueError("This prediction holds no probabilities.")
    return answer.probabilities


def _platt(positive: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Maximum likelihood with Platt's smoothed labels, which keep a perfect ranking finite."""
    scores = logit(np.clip(positive, EPSILON, 1 - EPSILON))
    ones, zeros = float((labels > 0).sum()), float((labels <= 0).sum())
    truth = np.where(labels > 0, (ones + 1) / (ones + 2), 1 / (zeros + 2))

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        z = theta[0] * scores + theta[1]
        gap = expit(z) - truth
        value = float(np.mean(np.logaddexp(0.0, z) - truth * z))
        return value, np.array([np.mean(gap * scores), np.mean(gap)])

    found = minimize(loss, x0=np.array([1.0, 0.0]), jac=True, method="L-BFGS-B")
    return float(found.x[0]), float(found.x[1])


def _temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    logs = np.log(np.clip(probabilities, EPSILON, 1 - EPSILON))
    rows, truth = np.arange(len(labels)), labels.astype(np.int64)

    def loss(log_scale: float) -> float:
        return -float(np.mean(np.log(softmax(np.exp(log_scale) * logs, axis=1)[rows, truth])))

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x))


def _level(answer: TargetPrediction, labels: np.ndarray, known: np.ndarray) -> float:
    if answer.mean is None or answer.mean[known].sum() <= 0:
        return 1.0
    return float(labels[known].sum() / answer.mean[known].sum())
