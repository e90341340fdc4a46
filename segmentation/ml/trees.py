"""A decision tree and a random forest: grown by scikit-learn, kept as flat arrays, walked by numpy.

Like scikit-learn a walk compares single-precision inputs with double-precision thresholds, so both send every row to
the same leaf (scikit-learn 1.9, sklearn/tree/_tree.pyx).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from segmentation.ml.storage import Tensors
from segmentation.ml.tabular import Fold, TabularEstimator

LEAF = -1
# So many (row, tree) pairs are walked at a time: they fit into the cache.
PAIRS = 400_000
MIN_LEAF = 50
TREE_DEPTH = 6


@dataclass(frozen=True)
class Trees:
    """Every node of every tree in one row of arrays.

    roots (t,) int32; feature, left, right (nodes,) int32, LEAF where there is none; threshold (nodes,) float64;
    value (nodes, k) float64, the share of each class (or the mean, k = 1) of the training rows there.
    """

    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray

    @classmethod
    def from_fitted(cls, fitted: list[Any], *, classes: int | None = None, present: Any = None) -> Self:
        """Of scikit-learn's trees. classes: how many columns `value` has; present: which of them were learned."""
        trees = [one.tree_ for one in fitted]
        starts = np.concatenate([[0], np.cumsum([tree.node_count for tree in trees])])

        def children(name: str) -> np.ndarray:
            parts = [getattr(t, name).astype(np.int64) for t in trees]
            return np.concatenate(
                [np.where(p == LEAF, LEAF, p + s) for p, s in zip(parts, starts, strict=False)]
            )

        values = np.concatenate([tree.value[:, 0, :] for tree in trees])
        if classes is not None:
            shares = values / values.sum(axis=1, keepdims=True)
            values = np.zeros((len(values), classes))
            values[:, present] = shares
        left = children("children_left")
        feature = np.concatenate([tree.feature for tree in trees])
        return cls(
            roots=starts[:-1].astype(np.int32),
            feature=np.where(left == LEAF, LEAF, feature).astype(np.int32),
            threshold=np.concatenate([tree.threshold for tree in trees]),
            left=left.astype(np.int32),
            right=children("children_right").astype(np.int32),
            value=values,
        )

    def leaves(self, x: np.ndarray) -> np.ndarray:
        """(n, t) the node in which each row ends."""
        nodes = np.broadcast_to(self.roots, (len(x), len(self.roots))).copy()
        rows, trees = np.nonzero(self.left[nodes] != LEAF)
        while len(rows):
            here = nodes[rows, trees]
            goes_left = x[rows, self.feature[here]] <= self.threshold[here]
            nodes[rows, trees] = np.where(goes_left, self.left[here], self.right[here])
            inside = self.left[nodes[rows, trees]] != LEAF
            rows, trees = rows[inside], trees[inside]
        return nodes

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, p) -> (n, k), the mean over the trees, added up in their order."""
        x = np.asarray(x, dtype=np.float32)
        answers = np.zeros((len(x), self.value.shape[1]))
        step = max(PAIRS // len(self.roots), 1)
        for start in range(0, len(x), step):
            leaves = self.leaves(x[start : start + step])
            total = answers[start : start + step]
            for tree in range(leaves.shape[1]):
                total += self.value[leaves[:, tree]]
        return answers / len(self.roots)

    def state(self) -> dict[str, np.ndarray]:
        names = ("roots", "feature", "threshold", "left", "right", "value")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_state(cls, tensors: Tensors) -> Self:
        return cls(**dict(tensors))


class TreeValues(Trees):
    """Trees of a regression: one number a row."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        return super().predict(x)[:, 0]


class DecisionTreeEstimator(TabularEstimator):
    """One small tree, which can be read; its leaves are large enough to state a share."""

    name: ClassVar[str] = "decision_tree"
    classifier = Trees
    regressor = TreeValues

    def fit_classifier(self, train: Fold, valid: Fold, *, classes: int) -> Trees:
        from sklearn.tree import DecisionTreeClassifier

        labels = train.y.astype(np.int64)
        model = DecisionTreeClassifier(
            max_depth=TREE_DEPTH, min_samples_leaf=MIN_LEAF, random_state=self.config.seed
        )
        model.fit(train.x, labels, sample_weight=train.weights)
        return Trees.from_fitted([model], classes=classes, present=model.classes_)

    def fit_regressor(self, train: Fold) -> TreeValues:
        from sklearn.tree import DecisionTreeRegressor

        model = DecisionTreeRegressor(
            max_depth=TREE_DEPTH, min_samples_leaf=MIN_LEAF, random_state=self.config.seed
        )
        return TreeValues.from_fitted([model.fit(train.x, train.y, sample_weight=train.weights)])


class RandomForestEstimator(TabularEstimator):
    """`forest_trees` trees over random halves of the question, leaves of `forest_leaf` rows at least."""

    name: ClassVar[str] = "random_forest"
    classifier = Trees
    regressor = TreeValues

    def fit_classifier(self, train: Fold, valid: Fold, *, classes: int) -> Trees:
        from sklearn.ensemble import RandomForestClassifier

        model = RandomForestClassifier(**self._settings())
        model.fit(train.x, train.y.astype(np.int64), sample_weight=train.weights)
        return Trees.from_fitted(list(model.estimators_), classes=classes, present=model.classes_)

    def fit_regressor(self, train: Fold) -> TreeValues:
        from sklearn.ensemble import RandomForestRegressor

        model = RandomForestRegressor(**{**self._settings(), "max_features": 1 / 3})
        model.fit(train.x, train.y, sample_weight=train.weights)
        return TreeValues.from_fitted(list(model.estimators_))

    def _settings(self) -> dict[str, Any]:
        return {
            "n_estimators": self.config.forest_trees,
            "min_samples_leaf": self.config.forest_leaf,
            "max_features": "sqrt",
            "n_jobs": 1,
            "random_state": self.config.seed,
        }
