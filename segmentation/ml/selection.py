"""Which columns are learned from, and which rows are too odd to learn from; decided on training rows alone.

What is chosen is what the fitted model lists as its columns, so the choice is stored with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segmentation.ml.classical import one_hot
from segmentation.ml.config import TrainingConfig
from segmentation.ml.preprocessing import Preprocessor
from segmentation.ml.schema import Column, Frame, Target, columns_of, label_mask

# A column with one value in so large a share of the rows tells too few customers apart.
SAME_SHARE = 0.995
ALIKE = 0.95
MOST_ROWS = 6_000
TREES, LEAF = 60, 20
# Columns dropped at a time by recursive elimination.
STEP = 0.15
ODD_SHARE = 0.02


def without_outliers(frame: Frame, config: TrainingConfig) -> Frame:
    """The rows without the oddest fiftieth by an isolation forest, where that is set (Liu, Ting, Zhou 2008)."""
    if config.outliers != "isolation_forest" or not len(frame):
        return frame
    from sklearn.ensemble import IsolationForest

    numeric = [column for column in columns_of(frame.x) if column.kind == "numeric"]
    x = Preprocessor.fit(frame.x, numeric).transform(frame.x).numeric
    forest = IsolationForest(
        n_estimators=100, max_samples=min(256, len(x)), n_jobs=1, random_state=config.seed
    )
    scores = forest.fit(x).score_samples(x)
    return frame.take(scores > np.quantile(scores, ODD_SHARE))


def choose(
    frame: Frame, columns: Sequence[Column], targets: Sequence[Target], config: TrainingConfig
) -> tuple[Column, ...]:
    """The columns to learn from, in their order; at least one is left. Those with one value in all rows never are."""
    varied = tuple(column for column in columns if frame.x[column.name].n_unique() > 1)
    columns = varied or tuple(columns[:1])
    if config.selection == "none":
        return columns
    chosen = {
        "variance": _varied,
        "correlation": _unlike,
        "permutation": _useful,
        "rfe": _eliminated,
    }[config.selection](frame, tuple(columns), targets, config)
    return chosen or tuple(columns[:1])


def _varied(
    frame: Frame, columns: tuple[Column, ...], targets: Sequence[Target], config: TrainingConfig
) -> tuple[Column, ...]:
    def commonest(column: Column) -> float:
        counts = frame.x[column.name].value_counts()["count"]
        return float(counts.max() or 0) / max(len(frame), 1)  # type: ignore[arg-type]

    return tuple(column for column in columns if commonest(column) < SAME_SHARE)


def _unlike(
    frame: Frame, columns: tuple[Column, ...], targets: Sequence[Target], config: TrainingConfig
) -> tuple[Column, ...]:
    """Of two columns that order customers alike (correlation of their normal quantiles) the first stays."""
    numeric = [column for column in columns if column.kind == "numeric"]
    scaled = (
        Preprocessor.fit(frame.x, numeric).transform(frame.x).numeric[:, : len(numeric)].astype(np.float64)
    )
    spread = scaled.std(axis=0)
    scaled = (scaled - scaled.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    alike = np.abs(scaled.T @ scaled / max(len(scaled), 1))
    kept: list[int] = []
    for position in range(len(numeric)):
        if not any(alike[position, other] > ALIKE for other in kept):
            kept.append(position)
    names = {numeric[position].name for position in kept}
    return tuple(column for column in columns if column.kind != "numeric" or column.name in names)


def _useful(
    frame: Frame, columns: tuple[Column, ...], targets: Sequence[Target], config: TrainingConfig
) -> tuple[Column, ...]:
    """The `keep_share` whose shuffling costs a small forest most, on rows that it has not seen."""
    importances = _Importances(frame, targets, config)
    return _best(columns, importances.permuted(columns), _wanted(columns, config))


def _eliminated(
    frame: Frame, columns: tuple[Column, ...], targets: Sequence[Target], config: TrainingConfig
) -> tuple[Column, ...]:
    """Fit a small forest, drop the weakest columns, fit again, until `keep_share` of them are left."""
    importances, wanted = _Importances(frame, targets, config), _wanted(columns, config)
    left = columns
    while len(left) > wanted:
        keep = max(wanted, int(len(left) * (1 - STEP)))
        left = _best(left, importances.grown(left), min(keep, len(left) - 1))
    return left


class _Importances:
    """What a small forest makes of the columns, for the first target, on a sample of the rows."""

    def __init__(self, frame: Frame, targets: Sequence[Target], config: TrainingConfig) -> None:
        self.target, self.seed = targets[0], config.seed
        labels = np.asarray(frame.labels[self.target.name])
        rows = np.flatnonzero(label_mask(self.target, labels))
        self.generator = np.random.default_rng(config.seed)
        if len(rows) > MOST_ROWS:
            rows = np.sort(self.generator.permutation(rows)[:MOST_ROWS])
        self.frame = frame.take(rows)
        kept = labels[rows]
        self.labels = np.log1p(kept) if self.target.kind == "value" else kept.astype(np.int64)

    def grown(self, columns: Sequence[Column]) -> dict[str, float]:
        """column -> impurity it takes away."""
        x, sources = self._inputs(columns)
        forest = self._forest().fit(x, self.labels)
        return _by_column(columns, sources, forest.feature_importances_)

    def permuted(self, columns: Sequence[Column]) -> dict[str, float]:
        """column -> fall of the score on the other half of the rows when it is shuffled there."""
        x, sources = self._inputs(columns)
        half = len(x) // 2
        order = self.generator.permutation(len(x))
        learn, check = order[:half], order[half:]
        forest = self._forest().fit(x[learn], self.labels[learn])
        whole = forest.score(x[check], self.labels[check])
        falls = {}
        for column in columns:
            own = [i for i, source in enumerate(sources) if source == column.name]
            shuffled = x[check].copy()
            shuffled[:, own] = shuffled[self.generator.permutation(len(check))][:, own]
            falls[column.name] = whole - forest.score(shuffled, self.labels[check])
        return falls

    def _inputs(self, columns: Sequence[Column]) -> tuple[np.ndarray, tuple[str, ...]]:
        fitted = Preprocessor.fit(self.frame.x, columns)
        x = one_hot(fitted.transform(self.frame.x), fitted.category_sizes)
        words = fitted.vocabularies
        hot = [name for name in words for _ in range(len(words[name]) + 1)]
        return x, (*fitted.numeric_sources, *hot)

    def _forest(self):  # type: ignore[no-untyped-def]
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        kind = RandomForestRegressor if self.target.kind == "value" else RandomForestClassifier
        return kind(n_estimators=TREES, min_samples_leaf=LEAF, n_jobs=1, random_state=self.seed)


def _wanted(columns: Sequence[Column], config: TrainingConfig) -> int:
    return max(1, round(config.keep_share * len(columns)))


def _by_column(columns: Sequence[Column], sources: Sequence[str], shares: np.ndarray) -> dict[str, float]:
    found = {column.name: 0.0 for column in columns}
    for source, share in zip(sources, shares, strict=True):
        found[source] += float(share)
    return found


def _best(columns: Sequence[Column], worth: dict[str, float], count: int) -> tuple[Column, ...]:
    order = sorted(columns, key=lambda column: -worth[column.name])[:count]
    names = {column.name for column in order}
    return tuple(column for column in columns if column.name in names)
