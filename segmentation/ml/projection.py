"""Two linear maps of scaled numbers, learned from training rows: guesses for unknown ones, and components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from segmentation.ml.batching import in_fixed_batches

RIDGE = 1.0
# Draws of the rows behind a multiple imputation, and how often its guesses feed each other.
DRAWS, ROUNDS = 5, 2
MOST_ROWS = 20_000
# A column that is known for fewer rows than this is not guessed from others.
FEWEST_KNOWN = 30


@dataclass(frozen=True)
class Imputer:
    """weights (draws, p, p), bias (draws, p): what each column's unknown numbers are guessed to be from the others.

    rounds (1,): how often. A column that was never unknown in training keeps its fill: its weights are 0.
    """

    weights: np.ndarray
    bias: np.ndarray
    rounds: np.ndarray

    @classmethod
    def fit(cls, scaled: np.ndarray, missing: np.ndarray, how: str) -> Self | None:
        """None where nothing is to be guessed."""
        if how not in ("regression", "multiple") or not missing.any():
            return None
        rows = len(scaled)
        generator = np.random.default_rng(0)
        draws = 1 if how == "regression" else DRAWS
        fitted = []
        for _ in range(draws):
            drawn = np.arange(rows) if draws == 1 else generator.integers(0, rows, rows)
            drawn = drawn[:MOST_ROWS]
            fitted.append(_regressions(scaled[drawn], missing[drawn]))
        weights, bias = (np.stack(parts) for parts in zip(*fitted, strict=True))
        return cls(weights, bias, np.array([1 if draws == 1 else ROUNDS]))

    def apply(self, scaled: np.ndarray, missing: np.ndarray) -> np.ndarray:
        guessed = missing & (np.abs(self.weights).sum(axis=(0, 1)) > 0)
        if not guessed.any():
            return scaled
        total = np.zeros(scaled.shape)
        for weights, bias in zip(self.weights, self.bias, strict=True):
            filled = scaled
            for _ in range(int(self.rounds[0])):
                guesses = in_fixed_batches(lambda rows, w=weights, b=bias: rows @ w + b, filled)
                filled = np.where(guessed, guesses, scaled)
            total += filled
        return np.where(guessed, total / len(self.weights), scaled)

    def state(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights, "bias": self.bias, "rounds": self.rounds}


@dataclass(frozen=True)
class Projection:
    """centre (p,), components (p, k): principal components of the numbers, in order of their variance."""

    centre: np.ndarray
    components: np.ndarray

    @property
    def size(self) -> int:
        return int(self.components.shape[1])

    @classmethod
    def fit(cls, numeric: np.ndarray, count: int) -> Self:
        centre = numeric.mean(axis=0, dtype=np.float64)
        spread = np.asarray(numeric, dtype=np.float64) - centre
        _values, vectors = np.linalg.eigh(spread.T @ spread)
        components = vectors[:, ::-1][:, : min(count, numeric.shape[1])]
        # The sign of a component is free; the largest share is made positive, so that a fit repeats itself.
        largest = np.abs(components).argmax(axis=0)
        return cls(centre, components * np.sign(components[largest, np.arange(components.shape[1])]))

    def apply(self, numeric: np.ndarray) -> np.ndarray:
        centred = numeric.astype(np.float64) - self.centre
        return in_fixed_batches(lambda rows: rows @ self.components, centred).astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        return {"centre": self.centre, "components": self.components}


def _regressions(scaled: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression of every column with unknown numbers on all others: (p, p), (p,)."""
    count = scaled.shape[1]
    weights, bias = np.zeros((count, count)), np.zeros(count)
    for column in np.flatnonzero(missing.any(axis=0)):
        known = ~missing[:, column]
        if known.sum() < FEWEST_KNOWN:
            continue
        others = np.delete(np.arange(count), column)
        x, y = scaled[np.ix_(known, others)], scaled[known, column]
        centre, mean = x.mean(axis=0), y.mean()
        moved = x - centre
        slope = np.linalg.solve(moved.T @ moved + RIDGE * np.eye(len(others)), moved.T @ (y - mean))
        weights[others, column], bias[column] = slope, mean - centre @ slope
    return weights, bias
