"""How well an order of customers finds those whom an offer moves: Qini curve, its coefficient, and AUUC.

At each share φ of the customers, best first, the curve holds what giving the offer to them alone would add for each
customer of all: the uplift within the share times φ. AUUC is the area under it (Rzepakowski and Jaroszewicz 2012);
the Qini coefficient (Radcliffe 2007) is the area above the straight line to its end, which a random order follows, so
random is 0. Rows weigh one over the chance of their arm, so unequal arms compare like equal ones; ties move together.
Both in added orders for each customer. Functions also take bootstrap weights, as those of ml/metrics.py.
"""

from __future__ import annotations

import numpy as np

from segmentation.ml.effects.rows import Assigned
from segmentation.ml.metrics import Weights

POINTS = 41


def qini(told: Assigned, score: np.ndarray, weights: Weights) -> np.ndarray:
    """Area between the curve and the straight line to its end."""
    share, gain = _curve(told, score, weights)
    return _area(share, gain) - gain[..., -1] / 2


def auuc(told: Assigned, score: np.ndarray, weights: Weights) -> np.ndarray:
    """Area under the curve; of a random order half the effect of giving it to everybody."""
    return _area(*_curve(told, score, weights))


def everybody(told: Assigned, weights: Weights) -> np.ndarray:
    """The end of every curve: the effect of giving it to all."""
    return _curve(told, np.zeros(len(told.outcome)), weights)[1][..., -1]


def curve(told: Assigned, score: np.ndarray) -> list[list[float]]:
    """[[share, added orders for each customer], …] at POINTS even shares."""
    share, gain = _curve(told, score, np.ones((1, len(score))))
    grid = np.linspace(0.0, 1.0, POINTS)
    found = np.interp(grid, share[0], gain[0])
    return [[round(float(x), 4), round(float(y), 6)] for x, y in zip(grid, found, strict=True)]


def _curve(told: Assigned, score: np.ndarray, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """(b, k + 1) shares and gains at the end of each run of equal scores, from 0 on."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    w = np.atleast_2d(weights)[:, order]
    treated, outcome, inverse = told.treated[order], told.outcome[order], told.weights[order]

    def sums(values: np.ndarray) -> np.ndarray:
        return np.cumsum(np.add.reduceat(w * values, starts, axis=-1), axis=-1)

    rows_t, rows_c = sums(inverse * treated), sums(inverse * (1 - treated))
    hits_t, hits_c = sums(inverse * treated * outcome), sums(inverse * (1 - treated) * outcome)
    mass = sums(np.ones(len(score)))
    share = mass / np.maximum(mass[:, -1:], 1e-12)
    # Where one arm has nobody yet nothing is known of the uplift.
    known = (rows_t > 0) & (rows_c > 0)
    uplift = np.where(known, hits_t / np.maximum(rows_t, 1e-12) - hits_c / np.maximum(rows_c, 1e-12), 0.0)
    none = np.zeros((len(w), 1))
    return np.concatenate([none, share], axis=1), np.concatenate([none, uplift * share], axis=1)


def _area(share: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return (np.diff(share, axis=-1) * (gain[..., 1:] + gain[..., :-1]) / 2).sum(axis=-1)
