"""Who may be learned from and who may not: splits by time and by customer, and checks against leaks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from segmentation.ml.schema import Frame, LearningError


@dataclass(frozen=True)
class Origin:
    """One backtest: learn from `train` cutoffs, test on `test`; every training label ends by `test`."""

    train: tuple[date, ...]
    test: date


def origin(cutoffs: Iterable[date], test: date, *, horizon_days: int) -> Origin:
    """The cutoffs whose label window [cutoff, cutoff + horizon) is over at the test cutoff."""
    train = complete_by(test, cutoffs, horizon_days=horizon_days)
    if not train:
        raise LearningError(
            f"No training cutoff has its {horizon_days} days of labels complete by {test}. "
            "Choose a later test date or add older data."
        )
    return Origin(train=train, test=test)


def complete_by(day: date, cutoffs: Iterable[date], *, horizon_days: int) -> tuple[date, ...]:
    """The cutoffs whose whole label window lies before `day`, oldest first."""
    horizon = timedelta(days=horizon_days)
    return tuple(cutoff for cutoff in sorted(set(cutoffs)) if cutoff + horizon <= day)


def rows_at(frame: Frame, cutoffs: Iterable[date]) -> Frame:
    """The rows of these cutoffs, in their order."""
    wanted = np.array(list(cutoffs), dtype="datetime64[D]")
    return frame.take(np.isin(frame.cutoffs.astype("datetime64[D]"), wanted))


def stable_share(ids: np.ndarray, *, salt: int) -> np.ndarray:
    """(n,) a number in [0, 1) per id that never changes: splitmix64 of id and salt."""
    with np.errstate(over="ignore"):
        z = ids.astype(np.int64).view(np.uint64) + np.uint64(salt + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def hold_out_customers(frame: Frame, share: float, *, salt: int = 0) -> tuple[Frame, Frame]:
    """(rest, held out): all rows of a customer fall on one side, whatever else is in the frame."""
    held = stable_share(frame.ids, salt=salt) < share
    if held.all() or not held.any():
        raise LearningError(
            f"Holding out {share:.0%} of {len(np.unique(frame.ids))} customers leaves one side empty. "
            "Add customers."
        )
    return frame.take(~held), frame.take(held)


def require_apart(train: Frame, test: Frame) -> None:
    """Raises LearningError when a row, a customer at a cutoff, is on both sides: it would be asked what it told."""
    shared = _keys(train).join(_keys(test), on=["customer", "cutoff"], how="semi").height
    if shared:
        raise LearningError(
            f"{shared} rows are on both sides of a split, so figures would be too good. No model was stored."
        )


def require_once(frame: Frame) -> None:
    """Raises LearningError when a customer is there twice at one cutoff: rows are balanced inside a fit, never before."""
    twice = _keys(frame).is_duplicated().sum()
    if twice:
        raise LearningError(
            f"{twice} rows stand for the same customer and day as another one. Balance classes in the training, which "
            "does it on the rows it learns from alone. No model was stored."
        )


def shared_rows(train: Frame, test: Frame) -> int:
    """Test rows whose features and labels repeat a training row: many of them mean a leak.

    Other customers may look the same by chance, above all in a table with few columns, so this is told, not refused.
    """
    return int(np.isin(_fingerprints(test), _fingerprints(train)).sum())


def _keys(frame: Frame) -> pl.DataFrame:
    return pl.DataFrame({"customer": frame.ids, "cutoff": frame.cutoffs.astype("datetime64[D]")})


def _fingerprints(frame: Frame) -> np.ndarray:
    labelled = frame.x.with_columns(**{f"label.{name}": values for name, values in frame.labels.items()})
    return labelled.hash_rows(seed=0).to_numpy()


def stratified_folds(labels: np.ndarray, folds: int, *, seed: int) -> list[np.ndarray]:
    """Positions of each fold's test rows: every class in every fold in its own share, shuffled by the seed.

    Those of scikit-learn's StratifiedKFold, so that anyone can repeat the split.
    """
    from sklearn.model_selection import StratifiedKFold

    rarest = int(np.unique(labels, return_counts=True)[1].min()) if len(labels) else 0
    if not 2 <= folds <= rarest:
        raise LearningError(
            f"{folds} folds need at least 2 folds and {folds} rows of every class; the rarest class has {rarest}. "
            "Ask for fewer folds or add rows."
        )
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return [test for _train, test in splitter.split(np.zeros(len(labels)), labels)]


def customer_fold(ids: np.ndarray, folds: int, *, seed: int) -> np.ndarray:
    """(n,) the fold of each row's customer, always the same one for a seed."""
    if folds < 2:
        raise LearningError("There are at least 2 folds. Ask for more.")
    return np.minimum((stable_share(ids, salt=1000 + seed) * folds).astype(np.int64), folds - 1)
