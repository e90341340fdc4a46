"""LIME: a linear model that imitates a served one around one customer (Ribeiro, Singh, Guestrin 2016, arXiv 1602.04938).

Neighbours keep some of the customer's values and take the others from customers of the shop; the nearer a neighbour, the
more it counts. Of a version that reads events each kind of the customer's newest events is one more thing that a
neighbour keeps or lacks. Coefficients of "kept" are the shares: what the customer's value adds beside a usual one.
It only asks for answers, so it explains any model, calibration and all, but from a sample: `fit` says how well the
linear model imitates the real one there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from segmentation.ml import occlusion
from segmentation.ml.schema import Frame, Prediction, Target
from segmentation.ml.sequences import Sequences

SAMPLES: Final = 1500
# Distance is the share of values that differ; at this share a neighbour counts 1/e.
WIDTH: Final = 0.5
RIDGE: Final = 1.0
FLOOR: Final = 1e-6

Predict = Callable[[Frame], Prediction]


@dataclass(frozen=True)
class Imitation:
    """shares: (p,) in log-odds, or in the log of the expected value. fit: weighted R² on the neighbours."""

    names: tuple[str, ...]
    shares: np.ndarray
    fit: float


def explain(
    predict: Predict,
    row: pl.DataFrame,
    background: pl.DataFrame,
    *,
    target: Target,
    of_class: int,
    events: Sequences | None = None,
    samples: int = SAMPLES,
    seed: int = 1,
) -> Imitation:
    """Imitate `predict` around `row` (one row); background: rows of other customers with the same columns.

    events: the row's own newest events, where the model reads them; their kinds follow the columns (occlusion.EVENTS).
    """
    rng = np.random.default_rng(seed)
    kinds = [] if events is None else [int(kind) for kind in np.unique(events.kinds) if kind]
    names = (*row.columns, *(f"{occlusion.EVENTS}{kind}" for kind in kinds))
    kept = rng.random((samples, len(names))) < rng.uniform(0.3, 1.0, (samples, 1))
    kept[0] = True
    drawn = background[rng.integers(0, background.height, samples).tolist()]
    mixed = [_mix(row[name], drawn[name], kept[:, place]) for place, name in enumerate(row.columns)]
    frame = Frame(
        ids=np.arange(samples),
        cutoffs=np.zeros(samples, dtype="datetime64[D]"),
        x=pl.DataFrame(mixed),
        events=None if events is None else _left(events, kinds, kept[:, row.width :]),
    )
    said = score(predict(frame), target, of_class)
    weights = np.exp(-(((1 - kept.mean(axis=1)) / WIDTH) ** 2))
    shares, fit = _fit(kept.astype(np.float64), said, weights)
    return Imitation(names, shares, fit)


def _left(events: Sequences, kinds: list[int], kept: np.ndarray) -> Sequences:
    """One row's events over and over, (n, kinds) kept or not."""
    many = events.take(np.zeros(len(kept), dtype=np.int64))
    dropped = np.zeros(many.kinds.shape, dtype=bool)
    for place, kind in enumerate(kinds):
        dropped |= (many.kinds == kind) & ~kept[:, [place]]
    return many.without(dropped)


def _mix(own: pl.Series, others: pl.Series, kept: np.ndarray) -> pl.Series:
    """(n,) the customer's own value where it is kept, another's elsewhere."""
    same = pl.Series(own.name, [own[0]] * len(others), dtype=own.dtype)
    return same.zip_with(pl.Series(kept), others.cast(own.dtype))


def score(answers: Prediction, target: Target, of_class: int) -> np.ndarray:
    """(n,) log-odds of the class, the log of the expected value, or the effect itself."""
    answer = answers[target.name]
    if target.kind == "effect":
        return np.asarray(answer.mean)
    if answer.probabilities is None:
        return np.log(np.maximum(np.asarray(answer.mean), FLOOR))
    chance = np.clip(answer.probabilities[:, of_class], FLOOR, 1 - FLOOR)
    return np.asarray(np.log(chance / (1 - chance)))


def _fit(z: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Weighted ridge regression; the intercept is not shrunk."""
    total = weights.sum()
    z_mean, y_mean = weights @ z / total, float(weights @ y / total)
    centred, wanted = z - z_mean, y - y_mean
    gram = centred.T @ (centred * weights[:, None]) + RIDGE * np.eye(z.shape[1])
    shares = np.linalg.solve(gram, centred.T @ (weights * wanted))
    left = float(weights @ (wanted - centred @ shares) ** 2)
    whole = float(weights @ wanted**2)
    return shares, 1.0 - left / whole if whole > 0 else 1.0
