"""Logistic regression: the baseline every other learner must beat to be worth its weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from segmentation.ml import imbalance, storage
from segmentation.ml.config import TrainingConfig
from segmentation.ml.linear import LinearClassifier, LinearValue
from segmentation.ml.preprocessing import Encoded, Preprocessor
from segmentation.ml.schema import (
    Column,
    EpochReport,
    Estimator,
    Frame,
    OnEpochEnd,
    Prediction,
    Target,
    TargetPrediction,
    label_mask,
)
from segmentation.ml.threads import one_thread

LinearModel = LinearClassifier | LinearValue


class LinearEstimator:
    """One linear model per target over inputs that a subclass chooses. Learned names end in `_`."""

    name: ClassVar[str]

    def __init__(
        self, *, targets: Sequence[Target], columns: Sequence[Column], config: TrainingConfig | None = None
    ) -> None:
        self.targets = tuple(targets)
        self.columns = tuple(columns)
        self.config = config or TrainingConfig()
        self.models_: dict[str, LinearModel] = {}

    def fit(self, train: Frame, valid: Frame, *, on_epoch_end: OnEpochEnd | None = None) -> Self:
        self.prepare(train)
        x = self.inputs(train)
        for step, target in enumerate(self.targets, start=1):
            labels = train.labels[target.name]
            known = label_mask(target, labels)
            weights = imbalance.row_weights(target, labels, self.config.imbalance)[known]
            self.models_[target.name] = fit_linear(target, x[known], labels[known], weights)
            if on_epoch_end is not None:
                on_epoch_end(EpochReport(estimator=self.name, epoch=step, epochs=len(self.targets)))
        return self

    def predict(self, frame: Frame) -> Prediction:
        with one_thread():
            x = self.inputs(frame)
            return {target.name: self.answer(target, x, frame) for target in self.targets}

    def answer(self, target: Target, x: np.ndarray, frame: Frame) -> TargetPrediction:
        model = self.models_[target.name]
        if isinstance(model, LinearClassifier):
            probabilities = model.predict(x)
            return TargetPrediction(probabilities=probabilities, decided=probabilities.argmax(axis=1))
        distribution = model.distribution(x)
        return distribution.prediction(mean=distribution.mean(largest=model.largest))

    def prepare(self, train: Frame) -> None:
        """Learn from the training rows whatever `inputs` needs."""
        raise NotImplementedError

    def inputs(self, frame: Frame) -> np.ndarray:
        """(n, p) float64."""
        raise NotImplementedError

    def input_sources(self) -> tuple[str, ...]:
        """The feature behind each input, for explanations."""
        raise NotImplementedError

    def linear_state(self) -> dict[str, np.ndarray]:
        state: dict[str, np.ndarray] = {}
        for name, model in self.models_.items():
            state |= storage.with_prefix(f"model.{name}", model.state())
        return state

    def read_linear_state(self, tensors: storage.Tensors) -> None:
        for target in self.targets:
            state = storage.under_prefix(f"model.{target.name}", tensors)
            kind = LinearValue if target.kind == "value" else LinearClassifier
            self.models_[target.name] = kind.from_state(state)


class LogisticEstimator(LinearEstimator):
    """Quantile-normal numbers and one-hot categories; value by the two-part linear model."""

    name: ClassVar[str] = "logistic"

    def prepare(self, train: Frame) -> None:
        self.preprocessor_ = Preprocessor.fit(train.x, self.columns, self.config.preprocessing)

    def inputs(self, frame: Frame) -> np.ndarray:
        return one_hot(self.preprocessor_.transform(frame.x), self.preprocessor_.category_sizes)

    def save(self, directory: Path) -> None:
        described, tensors = self.preprocessor_.state()
        storage.write_json(directory / "model.json", describe(self) | {"preprocessing": described})
        state = storage.with_prefix("preprocessing", tensors) | self.linear_state()
        storage.write_tensors(directory / "model.safetensors", state)

    @classmethod
    def load(cls, directory: Path) -> Self:
        described = storage.read_json(directory / "model.json")
        tensors = storage.read_tensors(directory / "model.safetensors")
        estimator = cls(**read_description(described))
        estimator.preprocessor_ = Preprocessor.from_state(
            described["preprocessing"], storage.under_prefix("preprocessing", tensors)
        )
        estimator.read_linear_state(tensors)
        return estimator

    def input_sources(self) -> tuple[str, ...]:
        words = self.preprocessor_.vocabularies
        hot = [name for name in words for _ in range(len(words[name]) + 1)]
        return (*self.preprocessor_.numeric_sources, *hot)


def fit_linear(
    target: Target, x: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> LinearModel:
    with one_thread():
        if target.kind == "value":
            return LinearValue.fit(x, labels.astype(np.float64))
        return LinearClassifier.fit(x, labels, classes=target.class_count, weights=weights)


def one_hot(encoded: Encoded, sizes: Sequence[int]) -> np.ndarray:
    """(n, p) numbers beside an indicator per category."""
    parts = [encoded.numeric.astype(np.float64)]
    for position, size in enumerate(sizes):
        parts.append(np.eye(size)[encoded.categorical[:, position]])
    return np.concatenate(parts, axis=1)


def describe(estimator: Estimator) -> dict[str, Any]:
    return {
        "targets": [target.to_json() for target in estimator.targets],
        "columns": [column.to_json() for column in estimator.columns],
        "config": estimator.config.to_json(),  # type: ignore[attr-defined]
    }


def read_description(described: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments back from `describe`."""
    return {
        "targets": [Target.from_json(item) for item in described["targets"]],
        "columns": [Column.from_json(item) for item in described["columns"]],
        "config": TrainingConfig.from_json(described["config"]),
    }
