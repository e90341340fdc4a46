"""Which features a version leans on: how much worse it answers held-out rows once a feature's values are shuffled.

Permutation importance (Breiman 2001, Machine Learning 45). Windows of one thing ("orders in 30 days", "in 90 days") tell
the same, so they are shuffled together: alone each would look as if nobody needed it. So are the events that a version
reads beside its columns. The loss is the log-loss of
chances, and of expected values the distance of logarithms. A figure below zero is chance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from segmentation.ml.schema import Frame, Prediction, Target, TargetPrediction, label_mask

ROWS: Final = 400
_Z95: Final = 1.96
FLOOR: Final = 1e-6
# What stands for all that a reader of events is given: whole histories change places.
EVENTS: Final = "events"
# One thing over several windows.
WINDOW: Final = re.compile(r"_(\d+d|lifetime)$")


def groups(names: Sequence[str]) -> dict[str, list[str]]:
    """Features of one thing under its name without the window."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(WINDOW.sub("", name), []).append(name)
    return found


def permutation(
    predict: Callable[[Frame], Prediction],
    held_out: Frame,
    targets: Sequence[Target],
    names: Sequence[str],
    *,
    with_events: bool = False,
    rows: int = ROWS,
    seed: int = 0,
) -> dict[str, list[dict[str, Any]]]:
    """target → [{"features", "value", "low", "high"}], the most needed first; the bounds are 95 % over rows.

    with_events: whether what is asked reads events; they are one group.
    """
    rng = np.random.default_rng(seed)
    frame = held_out.take(np.sort(rng.permutation(len(held_out))[:rows]))
    whole = _losses(predict(frame), frame, targets)
    found: dict[str, list[dict[str, Any]]] = {target.name: [] for target in targets}
    asked = [(members, _shuffled(frame, members, rng)) for members in groups(names).values()]
    if with_events and frame.events is not None:
        order = rng.permutation(len(frame))
        asked.append(([EVENTS], replace(frame, events=frame.events.take(order))))
    for members, shuffled in asked:
        for name, losses in _losses(predict(shuffled), frame, targets).items():
            found[name].append({"features": members, **_mean(losses - whole[name])})
    return {name: sorted(told, key=lambda one: -one["value"]) for name, told in found.items()}


def _shuffled(frame: Frame, members: Sequence[str], rng: np.random.Generator) -> Frame:
    """Whole rows of the group change places, so what belongs together stays together; events stay where they are."""
    order = rng.permutation(len(frame)).tolist()
    moved = [frame.x[name].gather(order) for name in members]
    return replace(frame, x=frame.x.with_columns(moved))


def _losses(answers: Prediction, frame: Frame, targets: Sequence[Target]) -> Mapping[str, np.ndarray]:
    return {
        target.name: _loss(target, answers[target.name], frame.labels[target.name])
        for target in targets
        if target.name in frame.labels
    }


def _loss(target: Target, answer: TargetPrediction, labels: np.ndarray) -> np.ndarray:
    """(known rows,) loss of each."""
    known = label_mask(target, labels)
    if answer.probabilities is not None:
        chances = answer.probabilities[known, np.asarray(labels)[known].astype(np.int64)]
        return -np.log(np.clip(chances, FLOOR, None))
    said = np.log1p(np.maximum(np.asarray(answer.mean)[known], 0.0))
    return np.abs(said - np.log1p(np.maximum(np.asarray(labels)[known], 0.0)))


def _mean(differences: np.ndarray) -> dict[str, float]:
    if not len(differences):
        return {"value": 0.0, "low": 0.0, "high": 0.0}
    value = float(differences.mean())
    half = _Z95 * float(differences.std()) / np.sqrt(len(differences))
    return {"value": round(value, 6), "low": round(value - half, 6), "high": round(value + half, 6)}
