"""Rare classes: weights, and training rows drawn or made up so that classes are equally many.

Everything here changes training rows alone, after the held-out customers have been set aside, and moves chances away
from their true frequencies: a model trained so carries a warning, and its threshold is moved anyway. On real shops none
of it ranked better by more than .001 (docs/learning.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from segmentation.ml.schema import Frame, Target, label_mask

Maker = Callable[[Frame, np.ndarray, int, np.random.Generator], Frame]
NEIGHBOURS = 5
# Neighbours are looked for among at most so many rows of a class.
MOST_COMPARED = 4_000
NOISE = 0.1
# A class is not blown up beyond so many times its rows: the copies would only be learned by heart.
MOST_COPIES = 20.0


def row_weights(target: Target, labels: np.ndarray, how: str) -> np.ndarray:
    """(n,) weights with mean 1: all equal, or each class as heavy as any other."""
    labels = np.asarray(labels)
    known = label_mask(target, labels)
    weights = np.ones(len(labels))
    if how != "class_weights" or target.kind == "value" or not known.any():
        return weights
    found, at, counts = np.unique(labels[known], return_inverse=True, return_counts=True)
    weights[known] = known.sum() / (len(found) * counts[at])
    return weights


def class_weights(
    targets: Sequence[Target], labels: Mapping[str, np.ndarray], how: str
) -> dict[str, np.ndarray]:
    """target -> (classes,) weights that make its classes equally heavy; empty where none are wanted."""
    found = {}
    for target in targets:
        if how == "class_weights" and target.kind != "value":
            own = np.asarray(labels[target.name])
            own = own[label_mask(target, own)].astype(np.int64)
            counts = np.bincount(own, minlength=target.class_count)
            present = max(int((counts > 0).sum()), 1)
            found[target.name] = len(own) / (present * np.maximum(counts, 1))
    return found


def resample(frame: Frame, targets: Sequence[Target], how: str, *, seed: int) -> Frame:
    """The training rows with the classes of the first target that has some made equally many."""
    target = next((target for target in targets if target.kind != "value"), None)
    if target is None or how in ("none", "class_weights"):
        return frame
    labels = np.asarray(frame.labels[target.name])
    known = np.flatnonzero(label_mask(target, labels))
    classes = [known[labels[known] == value] for value in np.unique(labels[known])]
    if len(classes) < 2:
        return frame
    generator = np.random.default_rng(seed)
    if how == "under":
        fewest = min(len(rows) for rows in classes)
        kept = [generator.permutation(rows)[:fewest] for rows in classes]
        return frame.take(np.sort(np.concatenate(kept)))
    most = max(len(rows) for rows in classes)
    wanted = [min(most, int(MOST_COPIES * len(rows))) - len(rows) for rows in classes]
    make = _generating(frame, classes, generator) if how == "gan" else _MAKERS[how]
    made = [
        make(frame, rows, count, generator) for rows, count in zip(classes, wanted, strict=True) if count > 0
    ]
    return Frame.concat([frame, *made]) if made else frame


def _copies(frame: Frame, rows: np.ndarray, count: int, generator: np.random.Generator) -> Frame:
    return frame.take(generator.choice(rows, count))


def _noisy(frame: Frame, rows: np.ndarray, count: int, generator: np.random.Generator) -> Frame:
    """Copies whose numbers are moved by a tenth of the column's spread within the class."""
    made = _copies(frame, rows, count, generator)
    numeric, values = _numbers(made.x)
    _centre, spread = _known_scale(np.where(np.isfinite(values), values, np.nan))
    moved = values + NOISE * spread * generator.normal(size=values.shape)
    return replace(made, x=_with_numbers(made.x, numeric, moved))


def _smote(frame: Frame, rows: np.ndarray, count: int, generator: np.random.Generator) -> Frame:
    """Points between a row and one of its nearest neighbours of the same class (Chawla et al. 2002, arXiv 1106.1813).

    Text and the other labels are those of the row it starts from; near is measured on standardised numbers.
    """
    pool = rows if len(rows) <= MOST_COMPARED else generator.choice(rows, MOST_COMPARED, replace=False)
    numeric, values = _numbers(frame.x[pool])
    finite = np.where(np.isfinite(values), values, np.nan)
    centre, spread = _known_scale(finite)
    scaled = np.nan_to_num((finite - centre) / np.where(spread > 0, spread, 1.0))
    start = generator.integers(0, len(pool), count)
    unique, place = np.unique(start, return_inverse=True)
    nearest = _nearest(scaled, unique)
    other = nearest[place, generator.integers(0, nearest.shape[1], count)]
    share = generator.random((count, 1))
    between = values[start] + share * (values[other] - values[start])
    made = frame.take(pool[start])
    # Where a number of one of the two is unknown, the row's own stays.
    return replace(
        made, x=_with_numbers(made.x, numeric, np.where(np.isfinite(between), between, values[start]))
    )


def _known_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of each column over what is known of it; 0 where nothing is."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, values, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, (values - centre) ** 2, 0.0).sum(axis=0) / count)
    return centre, spread


def _nearest(scaled: np.ndarray, of: np.ndarray) -> np.ndarray:
    """(len(of), k) positions of the nearest other rows."""
    own = (scaled**2).sum(axis=1)
    count = min(NEIGHBOURS, max(len(scaled) - 1, 1))
    found = np.empty((len(of), count), dtype=np.int64)
    for start in range(0, len(of), 512):
        part = of[start : start + 512]
        distance = own[part][:, None] + own - 2.0 * (scaled[part] @ scaled.T)
        distance[np.arange(len(part)), part] = np.inf if len(scaled) > 1 else 0.0
        found[start : start + 512] = np.argpartition(distance, count - 1, axis=1)[:, :count]
    return found


def _generating(frame: Frame, classes: Sequence[np.ndarray], generator: np.random.Generator) -> Maker:
    """Rows made up by one network that has seen the training rows of every class and is told which it shall make."""
    from segmentation.ml import gan

    _names, values = _numbers(frame.x)
    everything = np.concatenate(list(classes))
    numbers = np.repeat(np.arange(len(classes)), [len(rows) for rows in classes])
    seed = int(generator.integers(2**31))
    made = gan.ConditionalGAN.fit(values[everything], numbers, seed=seed) if values.shape[1] else None

    def generated(frame: Frame, rows: np.ndarray, count: int, generator: np.random.Generator) -> Frame:
        copied = _copies(frame, rows, count, generator)
        if made is None or len(rows) < gan.FEWEST:
            return copied
        of_class = next(number for number, own in enumerate(classes) if own is rows)
        numeric, own = _numbers(copied.x)
        drawn = made.sample(of_class, count, seed=int(generator.integers(2**31)))
        return replace(copied, x=_with_numbers(copied.x, numeric, np.where(np.isfinite(own), drawn, np.nan)))

    return generated


_MAKERS: dict[str, Maker] = {
    "over": _copies,
    "noise": _noisy,
    "smote": _smote,
}


def _numbers(x: pl.DataFrame) -> tuple[list[str], np.ndarray]:
    """Names and (n, p) float64 values of the numeric columns, NaN where unknown."""
    names = [name for name, dtype in x.schema.items() if dtype.is_numeric() or dtype == pl.Boolean]
    return names, x.select(pl.col(names).cast(pl.Float64)).fill_null(float("nan")).to_numpy()


def _with_numbers(x: pl.DataFrame, names: Sequence[str], values: np.ndarray) -> pl.DataFrame:
    """The frame with other numbers; whole numbers and yes/no columns are rounded back to what they are."""
    columns = []
    for position, name in enumerate(names):
        dtype, made = x.schema[name], values[:, position]
        if not dtype.is_float():
            made = np.rint(made)
        column = pl.Series(name, made, dtype=pl.Float64, nan_to_null=True)
        columns.append(column.cast(pl.Int8).cast(dtype) if dtype == pl.Boolean else column.cast(dtype))
    return x.with_columns(columns)
