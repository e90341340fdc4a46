"""The losses of a training run, one chart a learner."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from segmentation.dashboard.charts import SERIES
from segmentation.dashboard.model_words import algorithm

Epoch = Mapping[str, Any]
# A learner of several parts counts on in large steps from part to part.
JUMP = 50


def charts(epochs: Sequence[Epoch]) -> list[dict[str, Any]]:
    """{learner, x, y, lines: [{label, tone, dashed, points}]} for every learner that has losses, in their order."""
    learners = dict.fromkeys(str(epoch.get("estimator", "")) for epoch in epochs)
    drawn = []
    for learner in learners:
        parts = _parts([epoch for epoch in epochs if epoch.get("estimator") == learner])
        lines = _plain_lines(parts[0]) if len(parts) == 1 else list(_part_lines(parts))
        if any(line["points"] for line in lines):
            y = _("loss") if len(parts) == 1 else _("loss beside the first step")
            drawn.append({"learner": str(algorithm(learner)), "x": _("step"), "y": y, "lines": lines})
    return drawn


def _parts(epochs: Sequence[Epoch]) -> list[list[Epoch]]:
    parts: list[list[Epoch]] = []
    for epoch in epochs:
        if not parts or epoch["epoch"] - parts[-1][-1]["epoch"] > JUMP:
            parts.append([])
        parts[-1].append(epoch)
    return parts


def _plain_lines(epochs: Sequence[Epoch]) -> list[dict[str, Any]]:
    return [
        {"label": label, "tone": "primary", "dashed": dashed, "points": _points(epochs, key)}
        for key, label, dashed in (("train_loss", _("training"), True), ("valid_loss", _("held out"), False))
    ]


def _part_lines(parts: Sequence[Sequence[Epoch]]) -> Iterable[dict[str, Any]]:
    """Parts learn different things in different units, so each is shown beside its own beginning."""
    for number, part in enumerate(parts):
        points = _points(part, "valid_loss")
        first = points[0]["y"] if points and points[0]["y"] else 1.0
        start = part[0]["epoch"]
        yield {
            "label": _("part %(number)s") % {"number": number + 1},
            "tone": SERIES[number % len(SERIES)],
            "dashed": False,
            "points": [{"x": point["x"] - start, "y": point["y"] / first} for point in points],
        }


def _points(epochs: Iterable[Epoch], key: str) -> list[dict[str, float]]:
    return [
        {"x": epoch["epoch"], "y": float(epoch[key])}
        for epoch in epochs
        if isinstance(epoch.get(key), int | float) and math.isfinite(epoch[key])
    ]
