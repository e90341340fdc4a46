"""The comparison of all algorithms of a run for staff: one sortable table, curves beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation import comparisons
from segmentation.dashboard import charts, words
from segmentation.dashboard.model_words import METRICS, algorithm
from segmentation.models import Target

MORE: dict[str, tuple[Promise, Promise]] = {
    "macro_precision": (
        gettext_lazy("Precision, mean of classes"),
        gettext_lazy("Of those named, the share that is right; every class counts the same."),
    ),
    "macro_recall": (
        gettext_lazy("Recall, mean of classes"),
        gettext_lazy("Of those who are, the share that is named; every class counts the same."),
    ),
    "weighted_precision": (
        gettext_lazy("Precision, weighted"),
        gettext_lazy("A class counts as often as it occurs."),
    ),
    "weighted_recall": (
        gettext_lazy("Recall, weighted"),
        gettext_lazy("A class counts as often as it occurs."),
    ),
    "weighted_f1": (gettext_lazy("F1, weighted"), gettext_lazy("A class counts as often as it occurs.")),
    "fit_seconds": (gettext_lazy("Seconds to train"), gettext_lazy("On the machine that trained it.")),
    "predict_seconds": (
        gettext_lazy("Seconds to answer"),
        gettext_lazy("For all customers it was tested on."),
    ),
}
CURVES_SHOWN = len(charts.SERIES)


@dataclass(frozen=True)
class Cell:
    value: str
    is_best: bool


@dataclass(frozen=True)
class Line:
    version: Any
    name: str
    is_champion: bool
    cells: tuple[Cell, ...]
    warning: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Header:
    metric: str
    name: str
    hint: str
    is_sorted: bool
    descending: bool


def headers(found: comparisons.Comparison) -> tuple[Header, ...]:
    made = []
    for metric in found.metrics:
        name, hint = METRICS[metric] if metric in METRICS else MORE[metric]
        low = metric in comparisons.LOWER_IS_BETTER
        made.append(Header(metric, str(name), str(hint), metric == found.sorted_by, not low))
    return tuple(made)


def lines(found: comparisons.Comparison) -> tuple[Line, ...]:
    return tuple(
        Line(
            version=row.version,
            name=str(algorithm(row.algorithm)),
            is_champion=row.is_champion,
            cells=tuple(
                Cell(_figure(metric, row.figures.get(metric)), found.best.get(metric) == row.version.pk)
                for metric in found.metrics
            ),
            warning=comparisons.warning(row.version),
            notes=tuple(row.version.config.get("notes", ())),
        )
        for row in found.rows
    )


def curves(found: comparisons.Comparison) -> list[charts.Chart]:
    """The ROC or gain curves of the best few in one chart, and the held-out losses of all that have some."""
    drawn = []
    with_curve = [row for row in found.rows if row.curve][:CURVES_SHOWN]
    if with_curve:
        drawn.append(_curve(found.target, with_curve))
    losses = _losses(found)
    if losses:
        drawn.append(
            charts.lines(
                "losses",
                _("Learning curves"),
                _(
                    "Loss on held-out customers after each pass over the rows, beside the first; lower is better."
                ),
                losses,
                charts.Axes(_("pass"), _("loss beside the first"), x_min=1, y_min=None),
            )
        )
    return drawn


def _curve(target: Target, rows: Sequence[comparisons.Row]) -> charts.Chart:
    series = [
        charts.Line(str(algorithm(row.algorithm)), [(x, y) for x, y in row.curve], color=tone)
        for row, tone in zip(rows, charts.SERIES, strict=False)
    ]
    chance = charts.Line(_("chance"), [(0, 0), (1, 1)], color="slate", dashed=True)
    if target.kind == Target.Kind.FUTURE_VALUE:
        title, summary = (
            _("What the top of the list holds"),
            _("Share of all spend reached by taking the highest-valued customers first."),
        )
        axes = charts.Axes(_("customers taken"), _("share reached"), percent=True, x_max=1, y_max=1)
    else:
        title, summary = (
            _("ROC curves"),
            _("Found against alarmed in vain; of several classes the mean of one against the others."),
        )
        axes = charts.Axes(_("alarmed in vain"), _("found"), percent=True, x_max=1, y_max=1)
    return charts.lines("curves", title, summary, [*series, chance], axes)


def _losses(found: comparisons.Comparison) -> list[charts.Line]:
    epochs: dict[str, list[tuple[float, float]]] = {}
    for epoch in found.run.epochs:
        if isinstance(epoch.get("valid_loss"), int | float) and epoch.get("train_loss") is not None:
            epochs.setdefault(epoch["estimator"], []).append((epoch["epoch"], epoch["valid_loss"]))
    drawn = []
    for name, tone in zip(epochs, charts.SERIES * 3, strict=False):
        points = [point for place, point in enumerate(epochs[name]) if point[0] not in
                  {other[0] for other in epochs[name][:place]}]  # fmt: skip
        first = points[0][1] or 1.0
        drawn.append(charts.Line(str(algorithm(name)), [(x, y / abs(first)) for x, y in points], color=tone))
    return drawn


def _figure(metric: str, value: float | None) -> str:
    if value is None:
        return words.NOTHING
    if metric in {"accuracy", "bias", "coverage"}:
        return words.percent(value, 1)
    return words.number(value, 1 if metric in {"mae", "rmse", *comparisons.SECONDS} else 3)
