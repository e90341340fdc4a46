"""Every algorithm trained for one target beside the others, from what their versions stored. Knows no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from segmentation.models import ModelVersion, Target, TrainingRun

# What is shown, in order, for targets with classes and for values; lower is better for some.
CLASS_METRICS = (
    "auc",
    "log_loss",
    "calibration_error",
    "qwk",
    "accuracy",
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "weighted_f1",
    "weighted_precision",
    "weighted_recall",
)
VALUE_METRICS = ("gini", "spearman", "mae", "rmse", "bias", "coverage")
EFFECT_METRICS = ("qini", "auuc")
SECONDS = ("fit_seconds", "predict_seconds")
LOWER_IS_BETTER = frozenset({"log_loss", "calibration_error", "mae", "rmse", *SECONDS})
# The runs a page offers to look at.
RUNS_SHOWN = 20


@dataclass(frozen=True)
class Row:
    """One algorithm: figures by metric, None where it has none; curve and losses as points."""

    version: ModelVersion
    algorithm: str
    figures: Mapping[str, float | None]
    curve: Sequence[Sequence[float]]
    is_champion: bool = False


@dataclass(frozen=True)
class Comparison:
    """Rows of one run and target, the best first by `sorted_by`; best: metric → the version id that leads it."""

    target: Target
    run: TrainingRun
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    sorted_by: str
    best: Mapping[str, int]


def runs_of(target: Target) -> list[TrainingRun]:
    """The newest runs that left more than one version of the target, newest first."""
    runs = TrainingRun.objects.filter(versions__targets=target).defer("epochs").distinct().order_by("-pk")
    return list(runs[:RUNS_SHOWN])


def compare(run: TrainingRun, target: Target, *, by: str = "", champion_id: int | None = None) -> Comparison:
    """All versions that the run left for the target. `by` is a metric to sort by; else the main one."""
    versions = ModelVersion.objects.filter(training_run=run, targets=target).defer("reference", "features")
    rows = [_row(version, target, champion_id) for version in versions.order_by("number")]
    kind = Target.Kind(target.kind)
    told = {Target.Kind.FUTURE_VALUE: VALUE_METRICS, Target.Kind.UPLIFT: EFFECT_METRICS}
    metrics = told.get(kind, CLASS_METRICS) + SECONDS
    mains = {Target.Kind.FUTURE_VALUE: "gini", Target.Kind.CHURN: "auc", Target.Kind.UPLIFT: "qini"}
    usual = mains.get(kind, "macro_f1")
    chosen = by if by in metrics else usual
    rows.sort(key=lambda row: _rank(row, chosen))
    best = {}
    for metric in metrics:
        led = [row for row in rows if row.figures.get(metric) is not None]
        if led:
            best[metric] = min(led, key=lambda row: _rank(row, metric)).version.pk
    return Comparison(target, run, metrics, tuple(rows), chosen, best)


def lines(run: TrainingRun, target: Target) -> list[str]:
    """The comparison for a terminal."""
    found = compare(run, target)
    names = [metric for metric in found.metrics if metric != "predict_seconds"]
    table = [["", *(name.replace("weighted_", "w-").replace("macro_", "m-") for name in names)]]
    table += [[row.algorithm, *(_text(row.figures.get(name)) for name in names)] for row in found.rows]
    widths = [max(len(cells[i]) for cells in table) for i in range(len(table[0]))]
    return ["  ".join(cell.rjust(w) for cell, w in zip(cells, widths, strict=True)) for cells in table]


def warning(version: ModelVersion) -> str:
    """Why the chances of a version are not to be taken at their word, or ""."""
    if not version.config.get("spoils_calibration"):
        return ""
    return _(
        "Rare classes or hard cases were given more weight than they have, so a chance of 30 percent is not three in ten. "
        "Use its order of customers, not its percentages, unless its calibration error is small."
    )


def _row(version: ModelVersion, target: Target, champion_id: int | None) -> Row:
    stored = (version.evaluation.get(target.slug) or {}).get("family") or {}
    figures = {name: value for name, value in stored.items() if isinstance(value, int | float)}
    curve = stored.get("roc") or stored.get("gains") or []
    return Row(version, version.algorithm, figures, curve, version.pk == champion_id)


def _rank(row: Row, metric: str) -> tuple[bool, float]:
    """Small is good; what has no figure comes last."""
    value = row.figures.get(metric)
    if value is None:
        return True, 0.0
    if metric == "bias":
        return False, abs(value)
    if metric == "coverage":
        return False, abs(value - 0.8)
    return False, value if metric in LOWER_IS_BETTER else -value


def _text(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.4f}"
