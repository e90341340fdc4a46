"""What the estimators over one plain matrix share: inputs, one model a target, value in two parts, state.

A subclass says how a classifier and a regression of log spend are fitted; both keep their state in arrays and answer
by numpy alone, so that what is stored is numbers and what serves needs no scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from segmentation.ml import imbalance, storage
from segmentation.ml.classical import describe, one_hot, read_description
from segmentation.ml.config import TrainingConfig
from segmentation.ml.preprocessing import Preprocessor
from segmentation.ml.schema import (
    Column,
    EpochReport,
    Frame,
    LearningError,
    OnEpochEnd,
    Prediction,
    Target,
    TargetPrediction,
    label_mask,
)
from segmentation.ml.threads import one_thread
from segmentation.ml.ziln import ZeroInflatedLogNormal

BUYS, LOG = "buys", "log"


class ArrayModel(Protocol):
    """A fitted model: `predict` gives (n, k) probabilities of a classifier, (n,) values of a regression."""

    def predict(self, x: np.ndarray) -> np.ndarray: ...

    def state(self) -> dict[str, np.ndarray]: ...

    @classmethod
    def from_state(cls, tensors: storage.Tensors) -> Self: ...


@dataclass(frozen=True)
class Fold:
    """x (n, p) float64, y (n,) labels, weights (n,) of the rows: what one model learns from or is checked on."""

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray


class TabularEstimator:
    """Learned names end in `_`; `models_` is keyed by target, for values by `<target>.buys` and `<target>.log`."""

    name: ClassVar[str]
    classifier: ClassVar[type[ArrayModel]]
    regressor: ClassVar[type[ArrayModel]]

    def __init__(
        self, *, targets: Sequence[Target], columns: Sequence[Column], config: TrainingConfig | None = None
    ) -> None:
        self.targets = tuple(targets)
        self.columns = tuple(columns)
        self.config = config or TrainingConfig()
        self.models_: dict[str, ArrayModel] = {}
        self.values_: dict[str, dict[str, float]] = {}

    def fit_classifier(self, train: Fold, valid: Fold, *, classes: int) -> ArrayModel:
        raise NotImplementedError

    def fit_regressor(self, train: Fold) -> ArrayModel:
        raise NotImplementedError

    def fit(self, train: Frame, valid: Frame, *, on_epoch_end: OnEpochEnd | None = None) -> Self:
        self.preprocessor_ = Preprocessor.fit(train.x, self.columns, self.config.preprocessing)
        x, held = self.inputs(train), self.inputs(valid)
        with one_thread():
            for step, target in enumerate(self.targets, start=1):
                self._fit_target(target, x, train.labels[target.name], held, valid.labels[target.name])
                if on_epoch_end is not None:
                    on_epoch_end(EpochReport(estimator=self.name, epoch=step, epochs=len(self.targets)))
        return self

    def predict(self, frame: Frame) -> Prediction:
        x = self.inputs(frame)
        with one_thread():
            return {target.name: self._answer(target, x) for target in self.targets}

    def inputs(self, frame: Frame) -> np.ndarray:
        """(n, p) float64."""
        return one_hot(self.preprocessor_.transform(frame.x), self.preprocessor_.category_sizes)

    def save(self, directory: Path) -> None:
        described, tensors = self.preprocessor_.state()
        about: dict[str, Any] = {"preprocessing": described, "values": self.values_}
        storage.write_json(directory / "model.json", describe(self) | about)
        state = storage.with_prefix("preprocessing", tensors)
        for name, model in self.models_.items():
            state |= storage.with_prefix(f"model.{name}", model.state())
        storage.write_tensors(directory / "model.safetensors", state)

    @classmethod
    def load(cls, directory: Path) -> Self:
        described = storage.read_json(directory / "model.json")
        tensors = storage.read_tensors(directory / "model.safetensors")
        estimator = cls(**read_description(described))
        estimator.preprocessor_ = Preprocessor.from_state(
            described["preprocessing"], storage.under_prefix("preprocessing", tensors)
        )
        estimator.values_ = described["values"]
        for target in estimator.targets:
            for name, kind in cls._parts(target):
                state = storage.under_prefix(f"model.{name}", tensors)
                estimator.models_[name] = kind.from_state(state)
        return estimator

    @classmethod
    def _parts(cls, target: Target) -> list[tuple[str, type[ArrayModel]]]:
        if target.kind == "value":
            return [(f"{target.name}.{BUYS}", cls.classifier), (f"{target.name}.{LOG}", cls.regressor)]
        return [(target.name, cls.classifier)]

    def _fit_target(
        self, target: Target, x: np.ndarray, labels: np.ndarray, held: np.ndarray, held_labels: np.ndarray
    ) -> None:
        known, held_known = label_mask(target, labels), label_mask(target, held_labels)
        if not known.any():
            raise LearningError(f"No training row has a usable label for {target.name}.")
        weights = imbalance.row_weights(target, labels, self.config.imbalance)
        train = Fold(x[known], labels[known], weights[known])
        valid = Fold(held[held_known], held_labels[held_known], np.ones(int(held_known.sum())))
        if target.kind == "value":
            self._fit_value(target, train, valid)
        else:
            self.models_[target.name] = self.fit_classifier(train, valid, classes=target.class_count)

    def _fit_value(self, target: Target, train: Fold, valid: Fold) -> None:
        """Who buys, and for buyers the log of what they spend; the spread is taken on rows not learned from."""
        buys = train.y > 0
        if not buys.any():
            raise LearningError("No training row has a positive value, so future value cannot be learned.")
        both = [Fold(fold.x, (fold.y > 0).astype(np.int64), fold.weights) for fold in (train, valid)]
        self.models_[f"{target.name}.{BUYS}"] = self.fit_classifier(both[0], both[1], classes=2)
        log = self.fit_regressor(Fold(train.x[buys], np.log(train.y[buys]), train.weights[buys]))
        self.models_[f"{target.name}.{LOG}"] = log
        checked = valid if (valid.y > 0).sum() > 1 else train
        spends = checked.y > 0
        error = np.log(checked.y[spends]) - log.predict(checked.x[spends])
        self.values_[target.name] = {
            "sigma": max(float(np.std(error)), 1e-3),
            "largest": float(train.y.max()),
        }

    def _answer(self, target: Target, x: np.ndarray) -> TargetPrediction:
        if target.kind != "value":
            probabilities = self.models_[target.name].predict(x)
            return TargetPrediction(probabilities=probabilities, decided=probabilities.argmax(axis=1))
        buys = self.models_[f"{target.name}.{BUYS}"].predict(x)[:, 1]
        log = self.models_[f"{target.name}.{LOG}"].predict(x)
        learned = self.values_[target.name]
        distribution = ZeroInflatedLogNormal(buys, log, np.full(len(x), learned["sigma"]))
        return distribution.prediction(mean=distribution.mean(largest=learned["largest"]))
