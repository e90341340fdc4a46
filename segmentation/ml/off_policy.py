"""What another policy would have brought, from decisions that were drawn at random and logged with their chances.

Inverse propensity scoring (IPS; Horvitz and Thompson, JASA 47, 1952) weighs each outcome by how much likelier the other
policy would have done what was done. Self-normalised (SNIPS; Swaminathan and Joachims, NeurIPS 2015) divides by the
weights, which steadies it. Doubly robust (DR; Dudik, Langford and Li, ICML 2011) predicts outcomes and corrects the
prediction by IPS: right when either the chances or the predictions are. Chances are logged here, so all three are
consistent, and DR is the one to read: the least noise. Intervals are those of the mean of the influence values, with
rows of one customer taken together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

LEVEL: Final = 0.95
# Below so many logged rows, or so many that the weights leave, nothing is told.
LEAST_ROWS: Final = 200
LEAST_EFFECTIVE: Final = 50.0
# So much of what the other policy would do may be something that was never done, and is then left unsaid.
MOST_UNSEEN: Final = 0.01
FOLDS: Final = 5
# Ridge penalty for each row of a fold, on standardised columns.
PENALTY: Final = 0.02
_DRAWN: Final = 1e-9


class Refusal(StrEnum):
    """Why there is no estimate."""

    TOO_FEW = "too_few"
    DETERMINISTIC = "deterministic"
    NO_OVERLAP = "no_overlap"
    THIN_OVERLAP = "thin_overlap"


@dataclass(frozen=True, eq=False)
class Log:
    """n decisions. action (n,): what was done, 0 to k-1; chance (n, k): with which each action would have been done
    then, 0 where it could not; reward (n,). context (n, d): what was known, for predicting rewards; whose (n,): rows
    of one customer share a number (None: each row is somebody else).

    Raises ValueError where shapes differ, something is not a number, or what was done had no chance.
    """

    action: np.ndarray
    chance: np.ndarray
    reward: np.ndarray
    context: np.ndarray | None = None
    whose: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.action)
        arrays = (self.chance, self.reward, *(() if self.context is None else (self.context,)))
        if self.chance.ndim != 2 or any(len(array) != n for array in arrays):
            raise ValueError("one row of chances, reward and context for each action")
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError("chances, rewards and context must be numbers")
        if n and (self.taken <= 0).any():
            raise ValueError("what was done must have had a chance")

    def __len__(self) -> int:
        return len(self.action)

    @property
    def taken(self) -> np.ndarray:
        """(n,) chance of what was done."""
        return self.chance[np.arange(len(self.action)), self.action]


@dataclass(frozen=True)
class Estimate:
    """Mean reward a decision; [low, high] holds the truth with chance `level`."""

    value: float
    low: float
    high: float
    standard_error: float
    level: float = LEVEL

    def covers(self, truth: float) -> bool:
        return self.low <= truth <= self.high


@dataclass(frozen=True)
class Overlap:
    """How well the log tells of the other policy. effective: how many decisions of the other policy the log is worth
    (Kish); heaviest: the largest weight; unseen: share of what the other policy would do that could not happen here."""

    rows: int
    effective: float
    heaviest: float
    unseen: float
    refusal: Refusal | None

    @property
    def is_enough(self) -> bool:
        return self.refusal is None


@dataclass(frozen=True)
class Answer:
    """Every estimator's, of the other policy; `logged`: what was done brought; `gain`: doubly robust less logged."""

    overlap: Overlap
    estimates: Mapping[str, Estimate]
    logged: Estimate
    gain: Estimate


def overlap(log: Log, target: np.ndarray) -> Overlap:
    """target: (n, k) the chance with which the other policy would do each action; rows sum to one."""
    n = len(log)
    if not n:
        return Overlap(0, 0.0, 0.0, 0.0, Refusal.TOO_FEW)
    weight = weights(log, target)
    squares = float(weight @ weight)
    effective = float(weight.sum() ** 2 / squares) if squares else 0.0
    unseen = float(np.where(log.chance > 0, 0.0, target).sum() / n)
    found = Overlap(n, effective, float(weight.max()), unseen, None)
    return Overlap(n, effective, found.heaviest, unseen, _refusal(log, found))


def _refusal(log: Log, found: Overlap) -> Refusal | None:
    if found.rows < LEAST_ROWS:
        return Refusal.TOO_FEW
    if (log.taken >= 1 - _DRAWN).all():
        return Refusal.DETERMINISTIC
    if found.unseen > MOST_UNSEEN:
        return Refusal.NO_OVERLAP
    return Refusal.THIN_OVERLAP if found.effective < LEAST_EFFECTIVE else None


def weights(log: Log, target: np.ndarray) -> np.ndarray:
    """(n,) how much likelier the other policy would have done what was done."""
    if target.shape != log.chance.shape or not np.isfinite(target).all() or (target < 0).any():
        raise ValueError("the other policy's chances must be like the log's")
    return target[np.arange(len(log)), log.action] / log.taken


def estimate(log: Log, target: np.ndarray, *, level: float = LEVEL, seed: int = 0) -> Answer:
    """All estimates, whatever the overlap: ask `overlap` first, or read `Answer.overlap.refusal`.

    Without a context doubly robust predicts each action's mean.
    """
    weight = weights(log, target)
    predicted = predictions(log, seed=seed)
    whose = np.arange(len(log)) if log.whose is None else log.whose
    robust = _robust(log, target, weight, predicted)
    return Answer(
        overlap=overlap(log, target),
        estimates={
            "ips": _mean(weight * log.reward, whose, level),
            "snips": _ratio(weight, log.reward, whose, level),
            "dr": _mean(robust, whose, level),
        },
        logged=_mean(log.reward, whose, level),
        gain=_mean(robust - log.reward, whose, level),
    )


def predictions(log: Log, *, seed: int = 0) -> np.ndarray:
    """(n, k) the reward to expect of each action, each row's by models that have not seen its customer.

    Ridge regression within each action on the standardised context; the mean of all where an action has few rows.
    """
    n, k = log.chance.shape
    columns = np.zeros((n, 0)) if log.context is None else _standardised(log.context)
    fold = _folds(np.arange(n) if log.whose is None else log.whose, seed)
    out = np.zeros((n, k))
    for number in range(FOLDS):
        held = fold == number
        for action in range(k):
            rows = ~held & (log.action == action)
            out[held, action] = _ridge(columns[rows], log.reward[rows], columns[held], log.reward[~held])
    return out


def _ridge(x: np.ndarray, y: np.ndarray, asked: np.ndarray, everybody: np.ndarray) -> np.ndarray:
    if len(y) < 2:
        return np.full(len(asked), everybody.mean() if len(everybody) else 0.0)
    mean_x, mean_y = x.mean(axis=0), y.mean()
    if len(y) < 5 * (x.shape[1] + 1):
        return np.full(len(asked), mean_y)
    centred = x - mean_x
    matrix = centred.T @ centred + PENALTY * len(y) * np.eye(x.shape[1])
    return mean_y + (asked - mean_x) @ np.linalg.solve(matrix, centred.T @ (y - mean_y))


def _standardised(context: np.ndarray) -> np.ndarray:
    spread = context.std(axis=0)
    return (context - context.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def _folds(whose: np.ndarray, seed: int) -> np.ndarray:
    """(n,) a fold for each row; rows of one customer are in one."""
    _names, place = np.unique(whose, return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(place.max() + 1 if len(place) else 0) % FOLDS
    return np.asarray(drawn[place])


def _robust(log: Log, target: np.ndarray, weight: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    done = predicted[np.arange(len(log)), log.action]
    return np.asarray((target * predicted).sum(axis=1) + weight * (log.reward - done))


def _mean(values: np.ndarray, whose: np.ndarray, level: float) -> Estimate:
    value = float(values.mean()) if len(values) else math.nan
    return _with_interval(value, values - value, whose, level)


def _ratio(weight: np.ndarray, reward: np.ndarray, whose: np.ndarray, level: float) -> Estimate:
    """The weighted mean, its error by the delta method."""
    total = float(weight.sum())
    if not total:
        return Estimate(math.nan, -math.inf, math.inf, math.inf, level)
    value = float(weight @ reward) / total
    return _with_interval(value, weight * (reward - value) * (len(weight) / total), whose, level)


def _with_interval(value: float, influence: np.ndarray, whose: np.ndarray, level: float) -> Estimate:
    """influence: (n,) what each row moves the mean by, times n. Rows of one customer count as one."""
    from scipy import stats  # takes long to load, and pages that show estimates work none out

    n = len(influence)
    _names, place = np.unique(whose, return_inverse=True)
    together = np.bincount(place, influence) if n else np.zeros(0)
    m = len(together)
    if m < 2:
        return Estimate(value, -math.inf, math.inf, math.inf, level)
    error = math.sqrt(float(together @ together) * m / (m - 1)) / n
    reach = float(stats.t.ppf((1 + level) / 2, m - 1)) * error
    return Estimate(value, value - reach, value + reach, error, level)
