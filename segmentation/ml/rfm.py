"""The rule of thumb of the trade: fifths of recency, frequency and money, added up, and what such customers did.

Cut points, and the share of each class at each sum of scores, are taken from training rows; nothing else is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from segmentation.ml import storage
from segmentation.ml.classical import describe, read_description
from segmentation.ml.config import TrainingConfig
from segmentation.ml.preprocessing import check_columns, numbers
from segmentation.ml.schema import (
    Column,
    EpochReport,
    Frame,
    OnEpochEnd,
    Prediction,
    Target,
    TargetPrediction,
    label_mask,
)
from segmentation.ml.ziln import ZeroInflatedLogNormal

# What stands for recency, frequency and money; the first of each that the frame has. Few days ago scores high.
SOURCES = (
    ("recency_days",),
    ("orders_365d", "orders_lifetime"),
    ("spend_365d", "spend_lifetime", "basket"),
)
FIFTHS = (0.2, 0.4, 0.6, 0.8)
SUMS = 13
# So many rows of the overall mean are added to every sum of scores: a sum that three customers have says little.
PRIOR_ROWS = 20.0


@dataclass(frozen=True)
class ScoreTable:
    """By sum of scores, 3 to 15: `shares` (SUMS, k) of classes; for a value who buys, mean and spread of log spend."""

    shares: np.ndarray
    logs: np.ndarray
    sigma: np.ndarray
    means: np.ndarray

    @classmethod
    def fit(cls, target: Target, sums: np.ndarray, labels: np.ndarray) -> Self:
        classes = (labels > 0) if target.kind == "value" else labels
        count = max(target.class_count, 2)
        hits = np.zeros((SUMS, count))
        np.add.at(hits, (sums, classes.astype(np.int64)), 1.0)
        overall = hits.sum(axis=0) / max(hits.sum(), 1.0)
        shares = (hits + PRIOR_ROWS * overall) / (hits.sum(axis=1, keepdims=True) + PRIOR_ROWS)
        if target.kind != "value":
            return cls(shares, np.zeros(0), np.zeros(0), np.zeros(0))
        buys = labels > 0
        logs = np.log(labels[buys]) if buys.any() else np.zeros(1)
        at = sums[buys] if buys.any() else np.zeros(1, dtype=np.int64)
        centre = _smoothed(at, logs)
        sigma = np.array([max(float(np.std(logs - centre[at])), 1e-3)])
        return cls(shares, centre, sigma, _smoothed(sums, labels))

    def state(self) -> dict[str, np.ndarray]:
        return {"shares": self.shares, "logs": self.logs, "sigma": self.sigma, "means": self.means}

    def answer(self, target: Target, sums: np.ndarray) -> TargetPrediction:
        shares = self.shares[sums]
        if target.kind != "value":
            return TargetPrediction(probabilities=shares, decided=shares.argmax(axis=1))
        spread = np.full(len(sums), self.sigma[0])
        return ZeroInflatedLogNormal(shares[:, 1], self.logs[sums], spread).prediction(mean=self.means[sums])


class RFMEstimator:
    """Learned names end in `_`."""

    name: ClassVar[str] = "rfm"

    def __init__(
        self, *, targets: Sequence[Target], columns: Sequence[Column], config: TrainingConfig | None = None
    ) -> None:
        self.targets = tuple(targets)
        known = {column.name for column in columns}
        names = [next((name for name in wanted if name in known), wanted[0]) for wanted in SOURCES]
        self.columns = tuple(Column(name, "numeric") for name in names)
        self.config = config or TrainingConfig()
        self.tables_: dict[str, ScoreTable] = {}

    def fit(self, train: Frame, valid: Frame, *, on_epoch_end: OnEpochEnd | None = None) -> Self:
        check_columns(train.x, self.columns)
        self.cuts_ = np.stack([np.quantile(self._values(train, c.name), FIFTHS) for c in self.columns])
        sums = self.sums(train)
        for step, target in enumerate(self.targets, start=1):
            labels = np.asarray(train.labels[target.name])
            known = label_mask(target, labels)
            self.tables_[target.name] = ScoreTable.fit(target, sums[known], labels[known])
            if on_epoch_end is not None:
                on_epoch_end(EpochReport(estimator=self.name, epoch=step, epochs=len(self.targets)))
        return self

    def predict(self, frame: Frame) -> Prediction:
        sums = self.sums(frame)
        return {target.name: self.tables_[target.name].answer(target, sums) for target in self.targets}

    def sums(self, frame: Frame) -> np.ndarray:
        """(n,) 0 to 12: the three scores of 1 to 5 added up, less three."""
        check_columns(frame.x, self.columns)
        recency, *rest = (self._values(frame, column.name) for column in self.columns)
        total = 4 - np.searchsorted(self.cuts_[0], recency, side="left")
        for values, cuts in zip(rest, self.cuts_[1:], strict=True):
            total = total + np.searchsorted(cuts, values, side="left")
        return total

    def save(self, directory: Path) -> None:
        storage.write_json(directory / "model.json", describe(self))
        state = {"cuts": self.cuts_}
        for name, table in self.tables_.items():
            state |= storage.with_prefix(f"table.{name}", table.state())
        storage.write_tensors(directory / "model.safetensors", state)

    @classmethod
    def load(cls, directory: Path) -> Self:
        described: dict[str, Any] = storage.read_json(directory / "model.json")
        tensors = storage.read_tensors(directory / "model.safetensors")
        estimator = cls(**read_description(described))
        estimator.cuts_ = tensors["cuts"]
        for target in estimator.targets:
            state = storage.under_prefix(f"table.{target.name}", tensors)
            estimator.tables_[target.name] = ScoreTable(**state)
        return estimator

    def _values(self, frame: Frame, name: str) -> np.ndarray:
        """Unknown recency is long ago, unknown counts and sums are nothing."""
        values = numbers(frame.x, name)
        missing = 1e6 if name == "recency_days" else 0.0
        return np.nan_to_num(values, nan=missing, posinf=1e12, neginf=-1e12)


def _smoothed(at: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(SUMS,) mean by sum of scores, drawn towards the overall mean where rows are few."""
    total, rows = np.zeros(SUMS), np.zeros(SUMS)
    np.add.at(total, at, values)
    np.add.at(rows, at, 1.0)
    return (total + PRIOR_ROWS * values.mean()) / (rows + PRIOR_ROWS)
