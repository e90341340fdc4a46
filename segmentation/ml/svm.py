"""Support vector machines, linear and with an RBF kernel: margins by numpy, chances by a fit on held-out rows.

A margin is no probability. The margins of the rows held out for stopping are turned into chances by a multinomial
logistic regression of them, which for two classes is Platt scaling (Platt 1999) and for more its straight extension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from segmentation.ml import storage
from segmentation.ml.batching import in_fixed_batches
from segmentation.ml.linear import LinearClassifier
from segmentation.ml.storage import Tensors
from segmentation.ml.tabular import Fold, TabularEstimator

MOST_ITERATIONS = 3000
LINEAR_COST, KERNEL_COST = 0.05, 1.0


@dataclass(frozen=True)
class LinearMargins:
    """weights (p, m), bias (m,): m margins, one a class, or one where there are two classes. kernel-free."""

    centre: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def margins(self, x: np.ndarray) -> np.ndarray:
        scaled = (x - self.centre) / self.spread
        return in_fixed_batches(lambda rows: rows @ self.weights + self.bias, scaled)

    def state(self) -> dict[str, np.ndarray]:
        return {"centre": self.centre, "spread": self.spread, "weights": self.weights, "bias": self.bias}


@dataclass(frozen=True)
class KernelMargins:
    """exp(-gamma |x - s|^2) over support vectors s (v, p), times weights (v, m), plus bias (m,)."""

    centre: np.ndarray
    spread: np.ndarray
    vectors: np.ndarray
    gamma: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def margins(self, x: np.ndarray) -> np.ndarray:
        own = (self.vectors**2).sum(axis=1)

        def batch(rows: np.ndarray) -> np.ndarray:
            distance = (rows**2).sum(axis=1)[:, None] + own - 2.0 * (rows @ self.vectors.T)
            return np.exp(-self.gamma[0] * np.maximum(distance, 0.0)) @ self.weights + self.bias

        return in_fixed_batches(batch, (x - self.centre) / self.spread)

    def state(self) -> dict[str, np.ndarray]:
        names = ("centre", "spread", "vectors", "gamma", "weights", "bias")
        return {name: getattr(self, name) for name in names}


Margins = LinearMargins | KernelMargins


def read_margins(tensors: Tensors) -> Margins:
    values = dict(tensors)
    return KernelMargins(**values) if "vectors" in values else LinearMargins(**values)


@dataclass(frozen=True)
class MarginClassifier:
    margins: Margins
    chances: LinearClassifier

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.chances.predict(self.margins.margins(x))

    def state(self) -> dict[str, np.ndarray]:
        return storage.with_prefix("margins", self.margins.state()) | storage.with_prefix(
            "chances", self.chances.state()
        )

    @classmethod
    def from_state(cls, tensors: Tensors) -> Self:
        return cls(
            read_margins(storage.under_prefix("margins", tensors)),
            LinearClassifier.from_state(storage.under_prefix("chances", tensors)),
        )


@dataclass(frozen=True)
class MarginValues:
    """A support vector regression: one number a row."""

    margins: Margins

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.margins.margins(x)[:, 0]

    def state(self) -> dict[str, np.ndarray]:
        return self.margins.state()

    @classmethod
    def from_state(cls, tensors: Tensors) -> Self:
        return cls(read_margins(tensors))


class _SVMEstimator(TabularEstimator):
    classifier = MarginClassifier
    regressor = MarginValues

    def fit_classifier(self, train: Fold, valid: Fold, *, classes: int) -> MarginClassifier:
        present = np.unique(train.y.astype(np.int64))
        centre, spread = _standard(train.x)
        if len(present) == 1:
            constant = LinearMargins(centre, spread, np.zeros((train.x.shape[1], 1)), np.zeros(1))
            return MarginClassifier(
                constant, LinearClassifier.fit(np.zeros((1, 1)), present, classes=classes)
            )
        margins = self.fit_margins(train, centre, spread)
        # A held-out set without every class would rule the missing one out, so then the training rows speak.
        seen = valid if set(present) <= set(np.unique(valid.y.astype(np.int64))) else train
        chances = LinearClassifier.fit(margins.margins(seen.x), seen.y, classes=classes)
        return MarginClassifier(margins, chances)

    def fit_margins(self, train: Fold, centre: np.ndarray, spread: np.ndarray) -> Margins:
        raise NotImplementedError


class LinearSVMEstimator(_SVMEstimator):
    """One hyperplane a class against the others, squared hinge loss."""

    name: ClassVar[str] = "linear_svm"

    def fit_margins(self, train: Fold, centre: np.ndarray, spread: np.ndarray) -> Margins:
        from sklearn.svm import LinearSVC

        model = LinearSVC(
            C=LINEAR_COST, dual=False, max_iter=MOST_ITERATIONS, tol=1e-3, random_state=self.config.seed
        )
        model.fit((train.x - centre) / spread, train.y.astype(np.int64), sample_weight=train.weights)
        return LinearMargins(centre, spread, model.coef_.T.copy(), model.intercept_.copy())

    def fit_regressor(self, train: Fold) -> MarginValues:
        from sklearn.svm import LinearSVR

        centre, spread = _standard(train.x)
        model = LinearSVR(
            C=LINEAR_COST,
            loss="squared_epsilon_insensitive",
            dual=False,
            max_iter=MOST_ITERATIONS,
            random_state=self.config.seed,
        )
        model.fit((train.x - centre) / spread, train.y, sample_weight=train.weights)
        return MarginValues(
            LinearMargins(centre, spread, model.coef_[:, None].copy(), np.atleast_1d(model.intercept_))
        )


class RBFSVMEstimator(_SVMEstimator):
    """At most `kernel_rows` rows are learned from: time grows with their square."""

    name: ClassVar[str] = "rbf_svm"

    def fit_margins(self, train: Fold, centre: np.ndarray, spread: np.ndarray) -> Margins:
        from sklearn.svm import SVC

        rows = self._sampled(train)
        x = (rows.x - centre) / spread
        model = SVC(C=KERNEL_COST, gamma=1.0 / x.shape[1], cache_size=500, decision_function_shape="ovo")
        model.fit(x, rows.y.astype(np.int64), sample_weight=rows.weights)
        return KernelMargins(
            centre, spread, model.support_vectors_, np.array([1.0 / x.shape[1]]), *_pairs(model)
        )

    def fit_regressor(self, train: Fold) -> MarginValues:
        from sklearn.svm import SVR

        rows = self._sampled(train)
        centre, spread = _standard(rows.x)
        x = (rows.x - centre) / spread
        model = SVR(C=KERNEL_COST, gamma=1.0 / x.shape[1], cache_size=500)
        model.fit(x, rows.y, sample_weight=rows.weights)
        weights = model.dual_coef_.T.copy()
        kernel = KernelMargins(
            centre,
            spread,
            model.support_vectors_,
            np.array([1.0 / x.shape[1]]),
            weights,
            model.intercept_.copy(),
        )
        return MarginValues(kernel)

    def _sampled(self, train: Fold) -> Fold:
        most = self.config.kernel_rows
        if len(train.y) <= most:
            return train
        kept = np.sort(np.random.default_rng(self.config.seed).permutation(len(train.y))[:most])
        return Fold(train.x[kept], train.y[kept], train.weights[kept])


def _pairs(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Weights (v, pairs) and bias (pairs,) of scikit-learn's one-against-one machines, pair by pair.

    Row i of `dual_coef_` holds a class's vectors against the i-th other class (scikit-learn user guide, 1.4.1.1).
    """
    if len(model.classes_) == 2:
        return model.dual_coef_.T.copy(), model.intercept_.copy()
    ends = np.cumsum(model.n_support_)
    slices = [slice(end - count, end) for end, count in zip(ends, model.n_support_, strict=True)]
    count = len(model.classes_)
    columns = []
    for first in range(count):
        for second in range(first + 1, count):
            weights = np.zeros(len(model.support_vectors_))
            weights[slices[first]] = model.dual_coef_[second - 1, slices[first]]
            weights[slices[second]] = model.dual_coef_[first, slices[second]]
            columns.append(weights)
    return np.column_stack(columns), model.intercept_.copy()


def _standard(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = x.std(axis=0)
    return x.mean(axis=0), np.where(spread > 1e-12, spread, 1.0)
