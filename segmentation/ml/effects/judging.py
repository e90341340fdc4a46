"""Orders of customers judged on rows that no fit has seen: Qini and AUUC with intervals, beside random and others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import numpy as np

from segmentation.ml import metrics as plain
from segmentation.ml.effects import metrics
from segmentation.ml.effects.rows import Assigned
from segmentation.ml.evaluation import Metric, interval
from segmentation.ml.experiments import difference
from segmentation.ml.schema import Frame, Target

PRIMARY: Final = "qini"
RANDOM: Final = "random"
DECILES: Final = 5


def judge(
    scores: Mapping[str, np.ndarray], frame: Frame, target: Target, *, rounds: int, seed: int
) -> dict[str, dict[str, Any]]:
    """For each named (n,) score its evaluation as a version stores it, against every other and a random order.

    {"kind", "primary", "rows", "metrics", "baselines", "differences", "curves", "rounds"}: intervals are 95 %
    percentiles over draws of whole customers, differences are paired over the same draws.
    """
    told = Assigned.of(frame, target)
    draws = plain.bootstrap_weights(frame.ids, rounds=rounds, seed=seed)
    weights = np.concatenate([np.ones((1, len(frame))), draws])
    drawn = {
        name: {
            "qini": plain.in_chunks(partial(metrics.qini, told, score), weights),
            "auuc": plain.in_chunks(partial(metrics.auuc, told, score), weights),
        }
        for name, score in scores.items()
    }
    everybody = plain.in_chunks(partial(metrics.everybody, told), weights)
    drawn[RANDOM] = {"qini": np.zeros(len(weights)), "auuc": everybody / 2}
    return {
        name: {
            "kind": target.kind,
            "primary": PRIMARY,
            "rows": len(frame),
            "rounds": rounds,
            "metrics": _told(drawn[name]) | {"effect": asdict(interval(everybody))},
            "baselines": {other: _told(values) for other, values in drawn.items() if other != name},
            "differences": {
                other: _told({metric: drawn[name][metric] - values[metric] for metric in values})
                for other, values in drawn.items()
                if other != name
            },
            "curves": {"qini": metrics.curve(told, score), "bands": bands(told, score)},
            "subgroups": {},
        }
        for name, score in scores.items()
    }


def bands(told: Assigned, score: np.ndarray) -> list[dict[str, Any]]:
    """Fifths of the customers by score, highest first: the uplift said and the one that came about, with interval."""
    place = plain.equal_mass_bins(-score, DECILES)
    found = []
    for band in range(DECILES):
        rows = place == band
        treated = rows & (told.treated == 1)
        seen = difference(told.outcome[treated], told.outcome[rows & (told.treated == 0)])
        found.append(
            {
                "rows": int(rows.sum()),
                "said": float(score[rows].mean()) if rows.any() else None,
                "seen": seen.value if np.isfinite(seen.value) else None,
                "low": seen.low if seen.is_known else None,
                "high": seen.high if seen.is_known else None,
            }
        )
    return found


def _told(values: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    found: dict[str, Metric] = {name: interval(drawn) for name, drawn in values.items()}
    return {name: asdict(metric) for name, metric in found.items()}
