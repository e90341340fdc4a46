"""LightGBM on the raw columns: one booster per binary, multiclass or effect target, three per value.

Value: a Tweedie booster gives the mean (ranking and totals); a booster of buying and one of the log of what
buyers spend give the zero-inflated log-normal behind median and interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import lightgbm
import numpy as np

from segmentation.ml import imbalance, storage
from segmentation.ml.config import TrainingConfig
from segmentation.ml.effects.rows import WEIGHT
from segmentation.ml.preprocessing import Preprocessor, check_columns, matrix
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
from segmentation.ml.ziln import ZeroInflatedLogNormal
from segmentation.stages import stage

SETTINGS: dict[str, Any] = {
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
REPORT_EVERY = 20


@dataclass(frozen=True)
class Task:
    """One booster: what it optimises and which rows and labels it learns from."""

    name: str
    objective: dict[str, Any]
    label: Callable[[np.ndarray], np.ndarray]
    rows: Callable[[np.ndarray], np.ndarray]
    target: Target

    def weights(self, labels: np.ndarray, how: str) -> np.ndarray:
        return imbalance.row_weights(self.target, labels, how)


def tasks_of(target: Target) -> tuple[Task, ...]:
    known: Callable[[np.ndarray], np.ndarray] = lambda labels: label_mask(target, labels)  # noqa: E731
    if target.kind == "binary":
        return (Task(target.name, {"objective": "binary"}, _same, known, target),)
    if target.kind == "multiclass":
        objective = {"objective": "multiclass", "num_class": len(target.classes)}
        return (Task(target.name, objective, _same, known, target),)
    if target.kind == "effect":
        return (Task(target.name, {"objective": "regression"}, _same, known, target),)
    tweedie = {"objective": "tweedie", "tweedie_variance_power": 1.5}
    return (
        Task(f"{target.name}.mean", tweedie, _same, known, target),
        Task(f"{target.name}.buys", {"objective": "binary"}, _positive, known, target),
        Task(f"{target.name}.log", {"objective": "regression"}, np.log, lambda labels: labels > 0, target),
    )


class LightGBMEstimator:
    """Learned names end in `_`."""

    name: ClassVar[str] = "lightgbm"

    def __init__(
        self, *, targets: Sequence[Target], columns: Sequence[Column], config: TrainingConfig | None = None
    ) -> None:
        self.targets = tuple(targets)
        self.columns = tuple(columns)
        self.config = config or TrainingConfig()
        self.boosters_: dict[str, lightgbm.Booster] = {}
        self.sigmas_: dict[str, float] = {}

    def fit(self, train: Frame, valid: Frame, *, on_epoch_end: OnEpochEnd | None = None) -> Self:
        """Learns from `train`; `valid` only says after how many rounds to stop."""
        texts = [column for column in self.columns if column.kind == "categorical"]
        self.vocabulary_ = Preprocessor.fit(train.x, texts)
        x, held_out = self.inputs(train), self.inputs(valid)
        tasks = [(target, task) for target in self.targets for task in tasks_of(target)]
        for step, (target, task) in enumerate(tasks):
            report = _reporter(self.name, step, len(tasks), self.config.boosting_rounds, on_epoch_end)
            fold = (
                _Fold(x, train.labels[target.name], train.labels.get(WEIGHT)),
                _Fold(held_out, valid.labels[target.name], valid.labels.get(WEIGHT)),
            )
            self.boosters_[task.name] = self._boost(task, *fold, report)
        for target in self.targets:
            if target.kind == "value":
                self.sigmas_[target.name] = self._sigma(target, _Fold(held_out, valid.labels[target.name]))
        return self

    @stage("trees")
    def predict(self, frame: Frame) -> Prediction:
        x = self.inputs(frame)
        return {target.name: self._answer(target, x) for target in self.targets}

    def inputs(self, frame: Frame) -> np.ndarray:
        """(n, p) float64 in the order of `columns`; missing is NaN, categories are indices."""
        check_columns(frame.x, self.columns)
        x = np.empty((len(frame), len(self.columns)))
        kinds = np.array([column.kind for column in self.columns])
        names = [column.name for column in self.columns if column.kind == "numeric"]
        values = matrix(frame.x, names)
        values[np.isinf(values)] = np.nan
        x[:, kinds == "numeric"] = values
        x[:, kinds == "categorical"] = self.vocabulary_.category_codes(frame.x)
        return x

    def save(self, directory: Path) -> None:
        described, tensors = self.vocabulary_.state()
        storage.write_json(
            directory / "model.json",
            {
                "targets": [target.to_json() for target in self.targets],
                "columns": [column.to_json() for column in self.columns],
                "config": self.config.to_json(),
                "vocabulary": described,
                "sigmas": self.sigmas_,
                "boosters": sorted(self.boosters_),
            },
        )
        storage.write_tensors(directory / "model.safetensors", tensors)
        for name, booster in self.boosters_.items():
            (directory / f"{name}.txt").write_text(booster.model_to_string(), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        described = storage.read_json(directory / "model.json")
        estimator = cls(
            targets=[Target.from_json(item) for item in described["targets"]],
            columns=[Column.from_json(item) for item in described["columns"]],
            config=TrainingConfig.from_json(described["config"]),
        )
        tensors = storage.read_tensors(directory / "model.safetensors")
        estimator.vocabulary_ = Preprocessor.from_state(described["vocabulary"], tensors)
        estimator.sigmas_ = described["sigmas"]
        estimator.boosters_ = {name: _read(directory / f"{name}.txt") for name in described["boosters"]}
        return estimator

    def _boost(
        self, task: Task, train: _Fold, valid: _Fold, report: Callable[[Any], None] | None
    ) -> lightgbm.Booster:
        rows = task.rows(train.labels)
        if not rows.any():
            raise LearningError(f"No training row has a usable label for {task.name}.")
        texts = [i for i, column in enumerate(self.columns) if column.kind == "categorical"]
        data = lightgbm.Dataset(
            train.x[rows],
            task.label(train.labels[rows]),
            weight=train.weighed(task.weights(train.labels, self.config.imbalance))[rows],
            categorical_feature=texts,
            free_raw_data=True,
        )
        checks = task.rows(valid.labels)
        patience = lightgbm.early_stopping(self.config.boosting_patience, verbose=False)
        if checks.any():
            held_out = data.create_valid(
                valid.x[checks], task.label(valid.labels[checks]), weight=valid.weight_of(checks)
            )
            sets, callbacks = [held_out], [patience]
        else:
            sets, callbacks = [], []
        return lightgbm.train(
            {
                **SETTINGS,
                **task.objective,
                "learning_rate": self.config.boosting_rate,
                "num_leaves": self.config.boosting_leaves,
                "min_data_in_leaf": self.config.boosting_leaf_rows,
                "seed": self.config.seed,
            },
            data,
            num_boost_round=self.config.boosting_rounds,
            valid_sets=sets,
            callbacks=[*callbacks, *([report] if report else [])],
        )

    def _sigma(self, target: Target, valid: _Fold) -> float:
        """Spread of log spend around its prediction on rows that the boosters did not learn from."""
        buyers = valid.labels > 0
        if buyers.sum() < 2:
            return 1.0
        predicted = self._raw(f"{target.name}.log", valid.x[buyers])
        return float(np.std(np.log(valid.labels[buyers]) - predicted))

    def _raw(self, name: str, x: np.ndarray) -> np.ndarray:
        booster = self.boosters_[name]
        if not len(x):
            # LightGBM forgets the classes when it is given no rows.
            classes = booster.num_model_per_iteration()
            return np.zeros((0, classes) if classes > 1 else 0)
        return np.asarray(booster.predict(x, num_threads=1))

    def _answer(self, target: Target, x: np.ndarray) -> TargetPrediction:
        if target.kind == "value":
            buys, log = self._raw(f"{target.name}.buys", x), self._raw(f"{target.name}.log", x)
            spread = np.full(len(x), self.sigmas_[target.name])
            return ZeroInflatedLogNormal(buys, log, spread).prediction(
                mean=self._raw(f"{target.name}.mean", x)
            )
        if target.kind == "effect":
            return TargetPrediction(mean=self._raw(target.name, x))
        probabilities = self._raw(target.name, x)
        if target.kind == "binary":
            probabilities = np.stack([1 - probabilities, probabilities], axis=1)
        return TargetPrediction(probabilities=probabilities, decided=probabilities.argmax(axis=1))


@dataclass(frozen=True)
class _Fold:
    x: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None

    def weighed(self, usual: np.ndarray) -> np.ndarray:
        return usual if self.weights is None else usual * self.weights

    def weight_of(self, rows: np.ndarray) -> np.ndarray | None:
        return None if self.weights is None else self.weights[rows]


def _same(labels: np.ndarray) -> np.ndarray:
    return labels


def _positive(labels: np.ndarray) -> np.ndarray:
    return (labels > 0).astype(np.float64)


def _read(path: Path) -> lightgbm.Booster:
    try:
        return lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
    except (OSError, lightgbm.basic.LightGBMError) as error:
        raise storage.ArtifactError(f"The booster {path.name} of the artifact cannot be read.") from error


def _reporter(
    name: str, step: int, steps: int, rounds: int, on_epoch_end: OnEpochEnd | None
) -> Callable[[Any], None] | None:
    """A LightGBM callback that tells progress every few rounds; an exception in it cancels the fit."""
    if on_epoch_end is None:
        return None

    def report(state: Any) -> None:
        if state.iteration % REPORT_EVERY == 0:
            losses = {item[0]: float(item[2]) for item in state.evaluation_result_list or ()}
            on_epoch_end(
                EpochReport(
                    estimator=name,
                    epoch=step * rounds + state.iteration + 1,
                    epochs=steps * rounds,
                    valid_loss=losses.get("valid_0", float("nan")),
                )
            )

    return report
