"""A model version for staff: figures beside baselines, curves, and what stands behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _

from segmentation import promotion_policy, registry, targets, thresholds
from segmentation.dashboard import (
    charts,
    check_page,
    class_curves,
    leaning,
    model_curves,
    structure_page,
    words,
)
from segmentation.dashboard.model_words import GROUPS, LOWER_IS_BETTER, METRICS, SNAPSHOT, algorithm
from segmentation.models import ModelSlot, ModelVersion, Target
from segmentation.reports import simplest_first


@dataclass(frozen=True)
class Cell:
    """A figure, its interval, and for a baseline whether this version is clearly better or worse."""

    value: str
    interval: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class MetricRow:
    name: str
    hint: str
    own: Cell
    others: tuple[Cell, ...]
    is_primary: bool


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures of one test beside baselines, with curves; `warnings` say what makes them less believable."""

    headers: tuple[str, ...]
    metrics: tuple[MetricRow, ...]
    curves: tuple[charts.Chart, ...]
    confusion: charts.HeatTable | None
    lifts: charts.Table | None
    subgroups: tuple[tuple[str, charts.Table], ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TargetReport(Figures):
    """What the page shows for one target of the version."""

    target: Target
    definition: str
    role: str
    rows: str
    comparison: promotion_policy.Comparison
    can_roll_back_to: ModelVersion | None
    checks: charts.Table | None
    has_line: bool = False
    found: structure_page.Structure | None = None
    importance: charts.Table | None = None
    importance_chart: charts.Chart | None = None


def reports(version: ModelVersion) -> list[TargetReport]:
    slots = {slot.target_id: slot for slot in ModelSlot.objects.filter(target__versions=version)}
    served = version.targets.select_related("attribute")
    checks = check_page.tables(version)
    return [_report(version, target, slots.get(target.pk), checks.get(target.pk)) for target in served]


def _report(
    version: ModelVersion, target: Target, slot: ModelSlot | None, checks: charts.Table | None
) -> TargetReport:
    evaluation: Mapping[str, Any] = version.evaluation.get(target.slug) or {}
    warnings = [*version.data_snapshot.get("warnings", ()), evaluation.get("not_promised", "")]
    shown = figures(target.slug, target, evaluation, [warning for warning in warnings if warning])
    is_champion = slot is not None and slot.champion_id == version.pk
    return TargetReport(
        **vars(shown),
        target=target,
        definition=targets.definition(target),
        role=_role(version, slot),
        rows=words.number(evaluation["rows"]) if evaluation.get("metrics") and evaluation.get("rows") else "",
        comparison=promotion_policy.compare(target, version),
        can_roll_back_to=registry.previous_champion(target) if is_champion else None,
        checks=checks,
        has_line=thresholds.has_line(target),
        found=structure_page.build(version, target, evaluation),
        importance=leaning.table(evaluation),
        importance_chart=leaning.chart(target.slug, evaluation),
    )


def figures(slug: str, target: Target, evaluation: Mapping[str, Any], warnings: list[str]) -> Figures:
    """Figures as stored with a version or an evaluation. slug: tells the charts of one page apart."""
    # PostgreSQL's JSON keeps no order of its own: the simplest first, the champion last.
    others = tuple(sorted(evaluation.get("baselines", {}), key=simplest_first))
    curves = evaluation.get("curves", {})
    return Figures(
        headers=tuple(str(algorithm(name)) for name in others),
        metrics=_metric_rows(evaluation, others),
        curves=(
            *model_curves.drawn(slug, curves, target),
            *class_curves.charts_of(slug, curves),
        ),
        confusion=model_curves.confusion(curves, target),
        lifts=model_curves.lifts(curves),
        subgroups=_subgroups(evaluation),
        warnings=tuple(warnings),
    )


def _role(version: ModelVersion, slot: ModelSlot | None) -> str:
    if slot is not None and slot.champion_id == version.pk:
        return "champion"
    return "challenger" if slot is not None and slot.challenger_id == version.pk else "stored"


def _metric_rows(evaluation: Mapping[str, Any], others: tuple[str, ...]) -> tuple[MetricRow, ...]:
    primary = evaluation.get("primary", "")
    own = evaluation.get("metrics", {})
    names = sorted(
        own, key=lambda name: (name != primary, list(METRICS).index(name) if name in METRICS else 99)
    )
    rows = []
    for name in names:
        title, hint = METRICS.get(name, (name, ""))
        cells = tuple(_other_cell(evaluation, other, name) for other in others)
        rows.append(MetricRow(str(title), str(hint), _cell(name, own[name]), cells, name == primary))
    return tuple(rows)


def _cell(metric: str, figure: Mapping[str, float] | None, verdict: str = "") -> Cell:
    if figure is None:
        return Cell(words.NOTHING)
    low, high = _figure(metric, figure["low"]), _figure(metric, figure["high"])
    return Cell(
        _figure(metric, figure["value"]), _("%(low)s to %(high)s") % {"low": low, "high": high}, verdict
    )


def _other_cell(evaluation: Mapping[str, Any], other: str, metric: str) -> Cell:
    figure = evaluation["baselines"][other].get(metric)
    difference = evaluation.get("differences", {}).get(other, {}).get(metric)
    return _cell(metric, figure, _verdict(metric, difference))


def _verdict(metric: str, difference: Mapping[str, float] | None) -> str:
    """Clear only when the paired interval excludes zero; the error of a total has no better direction."""
    if difference is None or metric in {"bias", "coverage"} or difference["low"] <= 0 <= difference["high"]:
        return ""
    return "better" if (difference["value"] > 0) != (metric in LOWER_IS_BETTER) else "worse"


def _figure(metric: str, value: float) -> str:
    if metric in {"qini", "auuc", "effect"}:
        return words.number(value, 4)
    if metric in {"bias", "coverage", "accuracy"}:
        return words.percent(value, 1)
    return words.number(value, 2 if metric in {"mae", "rmse"} else 3)


def _subgroups(evaluation: Mapping[str, Any]) -> tuple[tuple[str, charts.Table], ...]:
    primary = evaluation.get("primary", "")
    title = str(METRICS.get(primary, (primary, ""))[0])
    found = []
    for group, values in evaluation.get("subgroups", {}).items():
        rows = tuple(
            (str(value), words.number(figure["rows"]), with_interval(primary, figure))
            for value, figure in values.items()
            if primary in figure
        )
        if rows:
            name = str(GROUPS.get(group, group))
            found.append((name, charts.Table((name, _("customers"), title), rows)))
    return tuple(found)


def with_interval(metric: str, figure: Mapping[str, float]) -> str:
    said = _figure(metric, figure[metric])
    if "low" not in figure:
        return said
    return f"{said} ({_figure(metric, figure['low'])} – {_figure(metric, figure['high'])})"


def main_figure(version: ModelVersion, target: Target) -> str:
    """The figure that ranks models of this target, with its name; empty without an evaluation."""
    evaluation = version.evaluation.get(target.slug) or {}
    name = evaluation.get("primary", "")
    figure = evaluation.get("metrics", {}).get(name)
    if figure is None:
        return ""
    title = METRICS[name][0] if name in METRICS else name
    return f"{title} {_figure(name, figure['value'])}"


def facts(version: ModelVersion) -> list[tuple[str, str]]:
    """What it was made of and from."""
    given = [
        (_("Made"), words.moment(version.created_at)),
        (
            _("Device"),
            _("%(device)s, %(threads)s threads") % {"device": version.device, "threads": version.threads},
        ),
        (_("Seed"), str(version.seed)),
        (_("Features"), words.number(len(version.features))),
        (_("Size"), words.size(version.artifact_bytes)),
        (_("Fingerprint"), version.artifact_sha256[:16]),
    ]
    return [
        *given,
        *((_snapshot_word(name), _snapshot_value(value)) for name, value in version.data_snapshot.items()),
    ]


def _snapshot_word(name: str) -> str:
    return str(SNAPSHOT.get(name, name.replace("_", " ")))


def _snapshot_value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(words.plain(item) for item in value)
    if isinstance(value, Mapping):
        return "; ".join(f"{_snapshot_value(key)}: {_snapshot_value(item)}" for key, item in value.items())
    if isinstance(value, str) and (day := _day(value)):
        return words.day(day, short=True)
    text = words.plain(value)
    return f"{text[:16]}…" if len(text) > 40 else text


def _day(text: str) -> date | None:
    try:
        return parse_date(text)
    except ValueError:
        return None


def summary_facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The plain entries of a run's summary; nested ones belong to the version's page."""
    return [
        (_snapshot_word(name), _snapshot_value(value))
        for name, value in summary.items()
        if not isinstance(value, Mapping | list)
    ]
