"""How a version has done since it serves: day by day, what it saw, what it answered, and what became of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _

from segmentation.dashboard import words
from segmentation.dashboard.charts import Table
from segmentation.dashboard.model_words import METRICS
from segmentation.features.catalogue import BY_NAME
from segmentation.ml.drift import FAR, MOVED
from segmentation.models import ModelCheck, ModelVersion, Target

SHOWN = 12
WORST = 3


def tables(version: ModelVersion) -> dict[int, Table]:
    """Target id → its last checks, the newest first; in one query."""
    found: dict[int, list[ModelCheck]] = {}
    for made in version.checks.select_related("target").order_by("-as_of"):
        rows = found.setdefault(made.target_id, [])
        if len(rows) < SHOWN:
            rows.append(made)
    return {target_id: _table(rows) for target_id, rows in found.items()}


def _table(rows: Sequence[ModelCheck]) -> Table:
    return Table(
        headers=(_("Up to"), _("Customers"), _("Its answers"), _("What it sees"), _("What became of it")),
        rows=tuple(
            (
                words.day(made.as_of - timedelta(days=1)),
                words.number(made.customers),
                _moved(made.answers),
                _features(made.features),
                _outcome(made.target, made.outcome),
            )
            for made in rows
        ),
    )


def _moved(index: float | None) -> str:
    if index is None:
        return words.NOTHING
    if index < MOVED:
        said = _("as in the test")
    else:
        said = _("moved far") if index >= FAR else _("moved")
    return f"{said} ({words.number(index, 2)})"


def _features(moved: Mapping[str, float]) -> str:
    far = sorted((name for name in moved if moved[name] >= FAR), key=lambda name: -moved[name])
    if not far:
        return _("as learned")
    named = "; ".join(f"{_label(name)} ({words.number(moved[name], 2)})" for name in far[:WORST])
    return _("%(count)s of %(all)s moved far: %(named)s") % {
        "count": words.number(len(far)),
        "all": words.number(len(moved)),
        "named": named + (" …" if len(far) > WORST else ""),
    }


def _label(name: str) -> str:
    return str(BY_NAME[name].label) if name in BY_NAME else name.removeprefix("attribute.")


def _outcome(target: Target, found: Mapping[str, Any] | None) -> str:
    if found is None:
        return _("known after %(days)s days, for the first of a month") % {"days": target.horizon_days}
    if not found:
        return words.NOTHING
    if target.kind == Target.Kind.FUTURE_VALUE:
        expected, observed = (words.number(found[side]) for side in ("expected", "observed"))
    else:
        expected, observed = (words.percent(found[side]) for side in ("expected", "observed"))
    said = _("%(expected)s expected, %(observed)s seen") % {"expected": expected, "observed": observed}
    name = next(iter(found["metrics"]))
    figure = found["metrics"][name]
    interval = f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
    return f"{said}; {METRICS[name][0]} {interval}"
