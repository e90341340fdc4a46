"""Groups of similar customers: k-means, Ward or a Gaussian mixture over standardised numbers, kept as arrays.

Quantiles would close the very gaps that tell groups apart, so amounts and counts are taken by their logarithm instead.

Whatever found the groups, a customer belongs to the nearest centre (k-means, Ward) or the likeliest component, so that
one customer and a million are answered alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax

from segmentation.ml import storage
from segmentation.ml.batching import in_fixed_batches
from segmentation.ml.config import TrainingConfig
from segmentation.ml.preprocessing import check_columns, matrix
from segmentation.ml.schema import (
    Column,
    EpochReport,
    Frame,
    LearningError,
    OnEpochEnd,
    Prediction,
    Target,
    TargetPrediction,
)

METHODS = ("kmeans", "ward", "mixture")
COUNTS = range(2, 11)
# Ward's memory grows with the square of the rows; a silhouette's time as well.
WARD_ROWS, SILHOUETTE_ROWS = 10_000, 2_000
# Below this share of common customers a group is another one than before.
SAME_GROUP = 0.3
FLOOR = 1e-3
CLIP = 4.0


@dataclass(frozen=True)
class Choice:
    """One number of groups that was tried: the mean silhouette, higher is better, or the BIC, lower is better."""

    count: int
    measure: str
    value: float


@dataclass(frozen=True)
class Groups:
    """centres (k, p), variances (k, p), log_weights (k,): all alike for k-means and Ward."""

    centres: np.ndarray
    variances: np.ndarray
    log_weights: np.ndarray

    def log_chances(self, x: np.ndarray) -> np.ndarray:
        """(n, p) -> (n, k) log of density times weight, up to a constant."""
        spread = ((x[:, None, :] - self.centres) ** 2 / self.variances).sum(axis=2)
        return self.log_weights - 0.5 * (spread + np.log(self.variances).sum(axis=1))

    def chances(self, x: np.ndarray) -> np.ndarray:
        return softmax(in_fixed_batches(self.log_chances, x), axis=1)


@dataclass(frozen=True)
class Scale:
    """centre, spread, logged (p,): numbers that are never negative go by log(1 + x); missing becomes the centre."""

    centre: np.ndarray
    spread: np.ndarray
    logged: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray) -> Self:
        known = np.isfinite(values)
        logged = np.array(
            [bool((column[there] >= 0).all()) for column, there in zip(values.T, known.T, strict=True)]
        )
        taken = _logs(values, logged)
        whole = np.where(known, taken, np.nan)
        empty = ~known.any(axis=0)
        whole[:, empty] = 0.0
        spread = np.nanstd(whole, axis=0)
        return cls(np.nanmean(whole, axis=0), np.where(spread > FLOOR, spread, 1.0), logged)

    def apply(self, values: np.ndarray) -> np.ndarray:
        scaled = (_logs(values, self.logged) - self.centre) / self.spread
        return np.where(np.isfinite(values), np.clip(np.nan_to_num(scaled), -CLIP, CLIP), 0.0)


def _logs(values: np.ndarray, logged: np.ndarray) -> np.ndarray:
    finite = np.where(np.isfinite(values), values, 0.0)
    return np.where(logged, np.log1p(np.maximum(finite, 0.0)), finite)


class ClusterEstimator:
    """Unsupervised: labels are not read. `choices_` tells what each number of groups was worth."""

    name: ClassVar[str] = "clusters"

    def __init__(
        self,
        *,
        targets: Sequence[Target],
        columns: Sequence[Column],
        config: TrainingConfig | None = None,
        method: str = "kmeans",
        count: int = 0,
    ) -> None:
        self.targets = tuple(targets)
        self.columns = tuple(column for column in columns if column.kind == "numeric")
        self.config = config or TrainingConfig()
        self.method = "kmeans" if method == "auto" else method
        self.count = count
        self.choices_: list[Choice] = []
        if self.method not in METHODS:
            raise LearningError(f"Groups are found by one of: {', '.join(METHODS)}.")

    def fit(self, train: Frame, valid: Frame, *, on_epoch_end: OnEpochEnd | None = None) -> Self:
        self.scale_ = Scale.fit(self._numbers(train))
        x = self.inputs(train)
        if not (x.std(axis=0) > FLOOR).any():
            raise LearningError(
                "All customers look the same in these columns, so there are no groups to find."
            )
        counts = [self.count] if self.count else [count for count in COUNTS if count < len(x)]
        best: tuple[float, Groups] | None = None
        for step, count in enumerate(counts, start=1):
            groups, choice = self._try(x, count)
            self.choices_.append(choice)
            worth = -choice.value if choice.measure == "bic" else choice.value
            if best is None or worth > best[0]:
                best = worth, groups
            if on_epoch_end is not None:
                on_epoch_end(EpochReport(estimator=self.name, epoch=step, epochs=len(counts)))
        if best is None:
            raise LearningError("There are too few customers to find groups among them.")
        self.groups_ = best[1]
        return self.name_groups([f"group_{number}" for number in range(1, len(self.groups_.centres) + 1)])

    def name_groups(self, names: Sequence[str]) -> Self:
        """Give the groups their names, in the order of the centres."""
        self.targets = tuple(replace(target, classes=tuple(names)) for target in self.targets)
        return self

    def predict(self, frame: Frame) -> Prediction:
        chances = self.groups_.chances(self.inputs(frame))
        answer = TargetPrediction(probabilities=chances, decided=chances.argmax(axis=1))
        return {target.name: answer for target in self.targets}

    def inputs(self, frame: Frame) -> np.ndarray:
        """(n, p) float64 standardised numbers; missing is the middle."""
        return self.scale_.apply(self._numbers(frame))

    def _numbers(self, frame: Frame) -> np.ndarray:
        check_columns(frame.x, self.columns)
        return matrix(frame.x, [column.name for column in self.columns])

    def save(self, directory: Path) -> None:
        whole = {
            "targets": [target.to_json() for target in self.targets],
            "columns": [column.to_json() for column in self.columns],
            "config": self.config.to_json(),
            "method": self.method,
            "count": self.count,
            "choices": [vars(choice) for choice in self.choices_],
        }
        storage.write_json(directory / "model.json", whole)
        state = storage.with_prefix("scale", vars(self.scale_)) | vars(self.groups_)
        storage.write_tensors(directory / "model.safetensors", state)

    @classmethod
    def load(cls, directory: Path) -> Self:
        described: dict[str, Any] = storage.read_json(directory / "model.json")
        tensors = storage.read_tensors(directory / "model.safetensors")
        estimator = cls(
            targets=[Target.from_json(item) for item in described["targets"]],
            columns=[Column.from_json(item) for item in described["columns"]],
            config=TrainingConfig.from_json(described["config"]),
            method=described["method"],
            count=described["count"],
        )
        estimator.scale_ = Scale(**storage.under_prefix("scale", tensors))
        estimator.groups_ = Groups(
            **{name: tensors[name] for name in ("centres", "variances", "log_weights")}
        )
        estimator.choices_ = [Choice(**choice) for choice in described["choices"]]
        return estimator

    def _try(self, x: np.ndarray, count: int) -> tuple[Groups, Choice]:
        from sklearn.metrics import silhouette_score

        if self.method == "mixture":
            return _mixture(x, count, self.config.seed)
        rows = _sampled(len(x), WARD_ROWS, self.config.seed) if self.method == "ward" else np.arange(len(x))
        labels = _ward(x[rows], count) if self.method == "ward" else _kmeans(x, count, self.config.seed)
        groups = _round_groups(x[rows], labels, count)
        seen = _sampled(len(rows), SILHOUETTE_ROWS, self.config.seed)
        worth = silhouette_score(x[rows][seen], labels[seen]) if len(np.unique(labels[seen])) > 1 else -1.0
        return groups, Choice(count, "silhouette", float(worth))


def matched(before: np.ndarray, after: np.ndarray, names: Sequence[str], count: int, fresh: int) -> list[str]:
    """Names of the `count` groups of a refit: those of the earlier groups that they share most customers with.

    before, after: (n,) group of the same customers then and now; names: of the earlier groups. A group without a
    counterpart takes the next number from `fresh` on, never one that was in use.
    """
    table = np.zeros((len(names), count))
    np.add.at(table, (before, after), 1)
    union = table.sum(axis=1)[:, None] + table.sum(axis=0)[None, :] - table
    common = np.divide(table, union, out=np.zeros_like(table), where=union > 0)
    found: dict[int, str] = {}
    for old, new in zip(*linear_sum_assignment(-common), strict=True):
        if common[old, new] >= SAME_GROUP:
            found[int(new)] = names[old]
    for new in range(count):
        if new not in found:
            found[new] = f"group_{fresh}"
            fresh += 1
    return [found[new] for new in range(count)]


def _kmeans(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    return KMeans(count, n_init=4, random_state=seed).fit_predict(x)


def _ward(x: np.ndarray, count: int) -> np.ndarray:
    from sklearn.cluster import AgglomerativeClustering

    return AgglomerativeClustering(count, linkage="ward").fit_predict(x)


def _round_groups(x: np.ndarray, labels: np.ndarray, count: int) -> Groups:
    """Centres with one variance for all, so that the likeliest group is the nearest."""
    centres = np.stack([x[labels == group].mean(axis=0) for group in range(count)])
    variance = max(float(((x - centres[labels]) ** 2).mean()), FLOOR)
    return Groups(centres, np.full_like(centres, variance), np.zeros(count))


def _mixture(x: np.ndarray, count: int, seed: int) -> tuple[Groups, Choice]:
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(count, covariance_type="diag", reg_covar=FLOOR, random_state=seed).fit(x)
    groups = Groups(model.means_, model.covariances_, np.log(np.maximum(model.weights_, 1e-12)))
    return groups, Choice(count, "bic", float(model.bic(x)))


def _sampled(count: int, most: int, seed: int) -> np.ndarray:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
