"""Signs that a figure will be too good: columns that tell the label by themselves, and test rows that repeat training rows.

A number is cut into bins, a text taken as it is; the share of each class by bin is learned from one half of the rows
and asked of the other, so that a column of names, one for each customer, tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from segmentation.ml import metrics, splits
from segmentation.ml.schema import Frame, Target, label_mask

# Area under the ROC curve of one column alone, from which on it is worth a look, and is no honest input.
SUSPICIOUS, CERTAIN = 0.95, 0.995
# Test rows that repeat a training row: a few do by chance, above all in a table with few columns.
REPEATED, MANY_REPEATED = 0.001, 0.3
BINS = 64
MIN_ROWS = 100
MAX_ROWS = 20_000
SALT = 109


@dataclass(frozen=True)
class Telling:
    """A column that alone ranks the rows of a target this well."""

    target: str
    column: str
    auc: float

    @property
    def is_certain(self) -> bool:
        return self.auc >= CERTAIN


def telling_columns(frame: Frame, targets: Iterable[Target]) -> list[Telling]:
    """Columns that alone tell a target's label almost perfectly, the clearest first."""
    found = []
    for target in targets:
        labels = np.asarray(frame.labels[target.name])
        rows = np.flatnonzero(label_mask(target, labels))[:MAX_ROWS]
        if len(rows) < MIN_ROWS:
            continue
        classes = _classes(target, labels[rows])
        half = splits.stable_share(frame.ids[rows], salt=SALT) < 0.5
        for name in frame.x.columns:
            auc = _alone(frame.x[name].gather(rows), classes, half)
            if auc >= SUSPICIOUS:
                found.append(Telling(target.name, name, auc))
    return sorted(found, key=lambda one: -one.auc)


def repeated_share(train: Frame, test: Frame) -> float:
    """Share of the test rows whose features and labels repeat a training row."""
    return splits.shared_rows(train, test) / max(len(test), 1)


def _classes(target: Target, labels: np.ndarray) -> np.ndarray:
    """(n,) class indices; of a value whether there is any."""
    return (labels > 0).astype(np.int64) if target.kind == "value" else labels.astype(np.int64)


def _alone(values: pl.Series, classes: np.ndarray, half: np.ndarray) -> float:
    """Mean over the classes of the area under the curve of one column, learned on `half`, asked on the rest."""
    bins = _bins(values)
    count = int(bins.max()) + 1
    present = np.unique(classes)
    if len(present) < 2:
        return 0.5
    learned = np.bincount(bins[half], minlength=count)
    wanted = present[1:] if len(present) == 2 else present
    areas = []
    for cls in wanted:
        truth = (classes == cls).astype(np.float64)
        rate = truth[half].mean() if half.any() else 0.0
        # One imagined row of the average keeps a bin that was never seen at the average.
        shares = (np.bincount(bins[half], weights=truth[half], minlength=count) + rate) / (learned + 1)
        asked = ~half
        areas.append(float(metrics.auc(truth[asked], shares[bins[asked]], np.ones((1, int(asked.sum()))))[0]))
    return float(np.mean(areas))


def _bins(values: pl.Series) -> np.ndarray:
    """(n,) small integers; missing is a bin of its own."""
    if values.dtype == pl.String or values.n_unique() <= BINS:
        return values.cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64) - 1
    numbers = values.cast(pl.Float64).to_numpy()
    known = np.isfinite(numbers)
    levels = np.linspace(0, 1, BINS + 1)[1:-1]
    edges = np.unique(np.quantile(numbers[known], levels)) if known.any() else np.zeros(0)
    return np.where(known, 1 + np.searchsorted(edges, numbers), 0).astype(np.int64)
