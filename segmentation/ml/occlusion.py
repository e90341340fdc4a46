"""Shares for learners that have no method of their own: what an answer loses once a value becomes a usual one.

Features of one thing over several windows are made usual together, since alone each would be stood in for by the others;
what a reader of events read is taken away kind by kind. It asks for answers only, so it holds for any learner. Shares
need not add up to the whole answer: two things that say the same each seem needless beside the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import polars as pl

from segmentation.ml.importance import groups
from segmentation.ml.schema import Frame, Target, TargetPrediction

# A kind of event stands under this and its number (segmentation/kinds.py).
EVENTS: Final = "events."
FLOOR: Final = 1e-6


def shares(estimator: Any, frame: Frame, target: Target, of_class: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of inputs, and (n, inputs) what making each usual takes from the answer; of windows the first one speaks."""
    usual = _usual(estimator)
    whole = scores(estimator.predict(frame)[target.name], of_class)
    names, parts = [], []
    for members in groups(list(usual)).values():
        changed = [_constant(frame.x[name], usual[name]) for name in members]
        names.append(members[0])
        parts.append(
            _lost(estimator, replace(frame, x=frame.x.with_columns(changed)), target, of_class, whole)
        )
    for kind in kinds_of(frame) if getattr(estimator, "events_read", 0) else ():
        assert frame.events is not None
        without = frame.events.without(frame.events.kinds == kind)
        names.append(f"{EVENTS}{kind}")
        parts.append(_lost(estimator, replace(frame, events=without), target, of_class, whole))
    return tuple(names), np.stack(parts, axis=1) if parts else np.zeros((len(frame), 0))


def kinds_of(frame: Frame) -> list[int]:
    """Kinds of event that some row has, by number."""
    if frame.events is None:
        return []
    return [int(kind) for kind in np.unique(frame.events.kinds) if kind]


def scores(answer: TargetPrediction, of_class: int) -> np.ndarray:
    """(n,) log-odds of two classes, of more the log of the class against the mean log of the others; log of a value."""
    if answer.probabilities is None:
        return np.log(np.maximum(np.asarray(answer.mean), FLOOR))
    logs = np.log(np.clip(answer.probabilities, FLOOR, 1.0))
    others = np.delete(logs, of_class, axis=1).mean(axis=1)
    return np.asarray(logs[:, of_class] - others)


def _lost(estimator: Any, changed: Frame, target: Target, of_class: int, whole: np.ndarray) -> np.ndarray:
    return np.asarray(whole - scores(estimator.predict(changed)[target.name], of_class))


def _usual(estimator: Any) -> dict[str, float | None]:
    """Column → its usual value: the median where it was learned, nothing known for a category."""
    if hasattr(estimator, "cuts_"):
        middles = estimator.cuts_[:, 1:3].mean(axis=1)
        return {column.name: float(middle) for column, middle in zip(estimator.columns, middles, strict=True)}
    if "bins" not in getattr(estimator, "described_", {"bins": ()}):
        return {}
    made = estimator.preprocessor_
    found: dict[str, float | None] = dict.fromkeys(made.vocabularies)
    for name, scale in made.scales.items():
        found[name] = float(np.interp(scale.fill, scale.quantiles, scale.knots))
    return {column.name: found[column.name] for column in made.columns}


def _constant(values: pl.Series, usual: float | None) -> pl.Series:
    kind = values.dtype if usual is None else pl.Float64
    return pl.Series(values.name, [usual] * len(values), dtype=kind)


def is_events(name: str) -> bool:
    return name.startswith(EVENTS)


def counted(frame: Frame, names: Sequence[str], row: int) -> dict[str, int]:
    """How many events of each named kind one row has."""
    if frame.events is None:
        return {}
    return {
        name: int((frame.events.kinds[row] == int(name.removeprefix(EVENTS))).sum())
        for name in names
        if is_events(name)
    }
