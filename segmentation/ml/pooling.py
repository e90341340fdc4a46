"""Figures over several tests at once: the mean over origins or folds, with customers drawn once for all of them.

A customer who is in several tests is drawn into all of them or none, so intervals know that the tests share people,
and differences between models stay paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segmentation.ml import metrics
from segmentation.ml.evaluation import Metric, interval, measures
from segmentation.ml.schema import Frame, Prediction, Target, label_mask


@dataclass(frozen=True)
class Part:
    """One test: every model's answers to its rows."""

    predictions: Mapping[str, Prediction]
    frame: Frame


def pooled(
    parts: Sequence[Part], targets: Sequence[Target], *, own: str, rounds: int, seed: int
) -> dict[str, dict[str, Any]]:
    """target -> {"metrics": model -> metric -> Metric, "differences": model -> metric -> Metric of own minus it}."""
    return {target.name: _target(parts, target, own=own, rounds=rounds, seed=seed) for target in targets}


def _target(
    parts: Sequence[Part], target: Target, *, own: str, rounds: int, seed: int
) -> dict[str, dict[str, Any]]:
    known = [part.frame.take(label_mask(target, part.frame.labels[target.name])) for part in parts]
    masks = [label_mask(target, part.frame.labels[target.name]) for part in parts]
    ids = np.concatenate([frame.ids for frame in known])
    weights = metrics.bootstrap_weights(ids, rounds=rounds, seed=seed)
    weights = np.concatenate([np.ones((1, len(ids))), weights])
    ends = np.cumsum([0, *(len(frame) for frame in known)])
    models = set.intersection(*(set(part.predictions) for part in parts))
    drawn: dict[str, dict[str, np.ndarray]] = {}
    for model in sorted(models):
        if not all(target.name in part.predictions[model] for part in parts):
            continue
        each = []
        for number, part in enumerate(parts):
            mask = masks[number]
            answer = part.predictions[model][target.name].map(lambda values, mask=mask: values[mask])  # type: ignore[misc]
            labels = np.asarray(known[number].labels[target.name])
            share = weights[:, ends[number] : ends[number + 1]]
            wanted = measures(target, answer, labels)
            each.append({name: metrics.in_chunks(measure, share) for name, measure in wanted.items()})
        names = set.intersection(*(set(one) for one in each))
        drawn[model] = {name: np.mean([one[name] for one in each], axis=0) for name in sorted(names)}
    return {
        "metrics": {model: _intervals(values) for model, values in drawn.items()},
        "differences": {
            model: _intervals(
                {name: drawn[own][name] - values[name] for name in drawn[own] if name in values}
            )
            for model, values in drawn.items()
            if model != own
        },
    }


def _intervals(values: Mapping[str, np.ndarray]) -> dict[str, Metric]:
    return {name: interval(found) for name, found in values.items()}
