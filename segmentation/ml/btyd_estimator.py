"""BG/NBD and Gamma-Gamma as an estimator: reads their posteriors from the frame and calibrates them.

Churn: Platt on the log-odds of exp(-E[orders in the horizon]), the chance of no order of a Poisson buyer.
Tier: multinomial logistic on the posteriors. Value: the posterior value times one fitted level, with the
spread of a two-part linear model on the same columns for median and interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from segmentation.ml import storage
from segmentation.ml.classical import LinearEstimator, describe, read_description
from segmentation.ml.config import TrainingConfig
from segmentation.ml.preprocessing import check_columns, numbers
from segmentation.ml.schema import Column, Frame, Target, TargetPrediction

ORDERS, VALUE = "btyd_expected_orders_90d", "btyd_value_90d"
# Not the chance to be alive: in a young shop it hardly varies, and its slope then fails at the next cutoff.
INPUTS = (ORDERS, "btyd_expected_spend", VALUE)
FLOOR = 1e-4


class BTYDEstimator(LinearEstimator):
    """Three numbers per customer and no more; also the honest answer of a young shop."""

    name: ClassVar[str] = "btyd"

    def __init__(
        self,
        *,
        targets: Sequence[Target],
        columns: Sequence[Column] = (),
        config: TrainingConfig | None = None,
    ) -> None:
        own = tuple(Column(name, "numeric") for name in INPUTS)
        super().__init__(targets=targets, columns=own, config=config)
        self.levels_: dict[str, float] = {}

    def prepare(self, train: Frame) -> None:
        check_columns(train.x, self.columns)
        raw = _raw(train)
        known = np.isfinite(raw)
        total = np.where(known, raw, 0.0).sum(axis=0)
        self.fill_ = total / np.maximum(known.sum(axis=0), 1)
        for target in self.targets:
            if target.kind == "value":
                self.levels_[target.name] = _level(np.asarray(train.labels[target.name]), _value(train))

    def inputs(self, frame: Frame) -> np.ndarray:
        """(n, 4): the log-odds of no order, then the logs of INPUTS, which act by their ratio."""
        check_columns(frame.x, self.columns)
        raw = _raw(frame)
        filled = np.where(np.isfinite(raw), raw, self.fill_)
        none = np.clip(np.exp(-np.maximum(numbers(frame.x, ORDERS), 0.0)), FLOOR, 1 - FLOOR)
        log_odds = np.log(none) - np.log1p(-none)
        fallback = np.exp(self.fill_[INPUTS.index(ORDERS)])
        missing = np.log(np.exp(-fallback)) - np.log1p(-np.exp(-fallback))
        return np.column_stack([np.where(np.isfinite(log_odds), log_odds, missing), filled])

    def answer(self, target: Target, x: np.ndarray, frame: Frame) -> TargetPrediction:
        answer = super().answer(target, x, frame)
        if answer.mean is None:
            return answer
        posterior = _value(frame)
        mean = np.where(np.isfinite(posterior), posterior * self.levels_[target.name], answer.mean)
        return TargetPrediction(mean=mean, median=answer.median, lower=answer.lower, upper=answer.upper)

    def save(self, directory: Path) -> None:
        storage.write_json(directory / "model.json", describe(self) | {"levels": self.levels_})
        storage.write_tensors(directory / "model.safetensors", {"fill": self.fill_, **self.linear_state()})

    @classmethod
    def load(cls, directory: Path) -> Self:
        described = storage.read_json(directory / "model.json")
        tensors = storage.read_tensors(directory / "model.safetensors")
        estimator = cls(**read_description(described))
        estimator.fill_ = tensors["fill"]
        estimator.levels_ = described["levels"]
        estimator.read_linear_state(tensors)
        return estimator

    def input_sources(self) -> tuple[str, ...]:
        return (ORDERS, *INPUTS)


def _raw(frame: Frame) -> np.ndarray:
    columns = [np.log(np.maximum(numbers(frame.x, name), 0.0) + FLOOR) for name in INPUTS]
    return np.column_stack(columns)


def _value(frame: Frame) -> np.ndarray:
    return numbers(frame.x, VALUE)


def _level(truth: np.ndarray, posterior: np.ndarray) -> float:
    """What the posteriors miss on average: the ratio of total spend to total expected spend."""
    known = np.isfinite(truth) & np.isfinite(posterior)
    expected = float(posterior[known].sum())
    return float(truth[known].sum()) / expected if expected > 0 else 1.0
