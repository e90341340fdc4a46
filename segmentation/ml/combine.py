"""Several learners as one: their plain mean, their votes, or weights learned on held-out customers.

The mean is the rule. Votes and weights are fitted on the held-out customers of the training days alone, never on the
day that tests, and are judged there like any other model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax

from segmentation.ml import artifacts, storage
from segmentation.ml.blend import Blend
from segmentation.ml.schema import Estimator, Frame, Prediction, Target, TargetPrediction, label_mask

EPSILON = 1e-6
# Weights are drawn towards equal ones: with a few thousand held-out rows the best mixture is mostly chance.
TOWARDS_EQUAL = 0.01


def build(how: str, members: Sequence[str], fitted: Mapping[str, Estimator], held: Frame) -> Estimator:
    """The members as one estimator, weights and votes fitted on `held`."""
    chosen = [fitted[name] for name in members]
    if how == "voting":
        return cast(Estimator, Voting(chosen))
    if how == "stacking":
        return cast(Estimator, Stacking(chosen).fit_weights(held))
    return cast(Estimator, Blend(chosen))


class Voting(Blend):
    """Each member has one vote for a class; ties, and chances between votes, are settled by the mean chance.

    Values have no classes to vote for: their median member speaks.
    """

    name: ClassVar[str] = "voting"
    # How much the mean chance counts beside a vote: enough to settle ties, too little to overrule one.
    TIE = 0.5

    def predict(self, frame: Frame) -> Prediction:
        answers = [member.predict(frame) for member in self.members]
        return {t.name: self._vote(t, [answer[t.name] for answer in answers]) for t in self.targets}

    def _vote(self, target: Target, answers: Sequence[TargetPrediction]) -> TargetPrediction:
        if target.kind == "value":
            return TargetPrediction(
                **{
                    part: np.median([getattr(answer, part) for answer in answers], axis=0)
                    for part in ("mean", "median", "lower", "upper")
                }
            )
        chances = [np.asarray(answer.probabilities) for answer in answers]
        votes = np.zeros(chances[0].shape)
        for chance in chances:
            votes[np.arange(len(chance)), chance.argmax(axis=1)] += 1.0
        mixed = (votes + self.TIE * np.mean(chances, axis=0)) / (len(chances) + self.TIE)
        return TargetPrediction(probabilities=mixed, decided=mixed.argmax(axis=1))


class Stacking(Blend):
    """A weighted mean: weights per target, none negative, that answer best on held-out customers."""

    name: ClassVar[str] = "stacking"

    def __init__(
        self, members: Sequence[Estimator], weights: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        super().__init__(members)
        equal = [1.0 / len(self.members)] * len(self.members)
        self.weights = {t.name: list((weights or {}).get(t.name, equal)) for t in self.targets}

    def fit_weights(self, held: Frame) -> Self:
        answers = [member.predict(held) for member in self.members]
        for target in self.targets:
            labels = np.asarray(held.labels[target.name])
            known = label_mask(target, labels)
            if known.any():
                parts = [answer[target.name].map(lambda v, k=known: v[k]) for answer in answers]  # type: ignore[misc]
                self.weights[target.name] = _weights(target, parts, labels[known])
        return self

    def predict(self, frame: Frame) -> Prediction:
        answers = [member.predict(frame) for member in self.members]
        return {
            t.name: _weighted([answer[t.name] for answer in answers], self.weights[t.name])
            for t in self.targets
        }

    def save(self, directory: Path) -> None:
        super().save(directory)
        storage.write_json(directory / "weights.json", self.weights)

    @classmethod
    def load(cls, directory: Path) -> Self:
        described: dict[str, Any] = storage.read_json(directory / "model.json")
        members = [artifacts.load(directory / place) for place in described["members"]]
        return cls(members, storage.read_json(directory / "weights.json"))


def _weights(target: Target, answers: Sequence[TargetPrediction], labels: np.ndarray) -> list[float]:
    """Weights that sum to 1: least log loss of the mixture, for values least error of the square root of spend."""
    count = len(answers)
    if target.kind == "value":
        parts = np.stack([np.asarray(answer.mean) for answer in answers])
        truth = np.sqrt(labels)
        scale = max(float(np.mean(truth**2)), 1e-12)

        def error(weights: np.ndarray) -> float:
            return float(np.mean((np.sqrt(np.maximum(weights @ parts, 0.0)) - truth) ** 2)) / scale
    else:
        rows, classes = np.arange(len(labels)), labels.astype(np.int64)
        parts = np.stack([np.asarray(answer.probabilities)[rows, classes] for answer in answers])

        def error(weights: np.ndarray) -> float:
            return -float(np.mean(np.log(np.maximum(weights @ parts, EPSILON))))

    def loss(free: np.ndarray) -> float:
        return error(softmax(free)) + TOWARDS_EQUAL * float(np.mean(free**2))

    found = minimize(loss, x0=np.zeros(count), method="L-BFGS-B")
    return [round(float(weight), 6) for weight in softmax(found.x)]


def _weighted(answers: Sequence[TargetPrediction], weights: Sequence[float]) -> TargetPrediction:
    def mixed(name: str) -> np.ndarray | None:
        values = [getattr(answer, name) for answer in answers]
        if any(value is None for value in values):
            return None
        total = np.zeros(np.shape(values[0]))
        for value, weight in zip(values, weights, strict=True):
            total += weight * value
        return total

    probabilities = mixed("probabilities")
    return TargetPrediction(
        probabilities=probabilities,
        decided=None if probabilities is None else probabilities.argmax(axis=1),
        mean=mixed("mean"),
        median=mixed("median"),
        lower=mixed("lower"),
        upper=mixed("upper"),
    )
