"""A model version for staff: figures beside baselines, curves, and what stands behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _

from segmentation import registry, targets
from segmentation.dashboard import charts, check_page, words
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


@dataclass(frozen=True)
class TargetReport:
    """What the page shows for one target of the version."""

    target: Target
    definition: str
    role: str
    rows: str
    headers: tuple[str, ...]
    metrics: tuple[MetricRow, ...]
    curves: tuple[charts.Chart, ...]
    confusion: charts.HeatTable | None
    lifts: charts.Table | None
    subgroups: tuple[tuple[str, charts.Table], ...]
    comparison: registry.Comparison
    can_roll_back_to: ModelVersion | None
    checks: charts.Table | None


def reports(version: ModelVersion) -> list[TargetReport]:
    slots = {slot.target_id: slot for slot in ModelSlot.objects.filter(target__versions=version)}
    served = version.targets.select_related("attribute")
    checks = check_page.tables(version)
    return [_report(version, target, slots.get(target.pk), checks.get(target.pk)) for target in served]


def _report(
    version: ModelVersion, target: Target, slot: ModelSlot | None, checks: charts.Table | None
) -> TargetReport:
    evaluation: Mapping[str, Any] = version.evaluation.get(target.slug) or {}
    # PostgreSQL's JSON keeps no order of its own: the simplest first, the champion last.
    others = tuple(sorted(evaluation.get("baselines", {}), key=simplest_first))
    is_champion = slot is not None and slot.champion_id == version.pk
    return TargetReport(
        target=target,
        definition=targets.definition(target),
        role=_role(version, slot),
        rows=words.number(evaluation["rows"]) if evaluation.get("rows") else "",
        headers=tuple(str(algorithm(name)) for name in others),
        metrics=_metric_rows(evaluation, others),
        curves=tuple(_curves(target.slug, evaluation.get("curves", {}))),
        confusion=_confusion(evaluation.get("curves", {})),
        lifts=_lifts(evaluation.get("curves", {})),
        subgroups=_subgroups(evaluation),
        comparison=registry.compare(target, version),
        can_roll_back_to=registry.previous_champion(target) if is_champion else None,
        checks=checks,
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
    if metric in {"bias", "coverage", "accuracy"}:
        return words.percent(value, 1)
    return words.number(value, 2 if metric in {"mae", "rmse"} else 3)


def _curves(slug: str, curves: Mapping[str, Any]) -> list[charts.Chart]:
    drawn = []
    if roc := curves.get("roc"):
        drawn.append(_roc(slug, roc))
    if recall := curves.get("precision_recall"):
        drawn.append(_precision_recall(slug, recall))
    if reliability := curves.get("reliability"):
        drawn.append(_reliability(slug, reliability))
    if gains := curves.get("gains"):
        drawn.append(_gains(slug, gains))
        if not curves.get("reliability"):
            drawn.append(_deciles(slug, gains))
    return drawn


def _roc(slug: str, roc: Mapping[str, list[float]]) -> charts.Chart:
    points = list(zip(roc["false_positive_rate"], roc["true_positive_rate"], strict=True))
    return charts.lines(
        f"{slug}-roc",
        _("ROC curve"),
        _("Share of leavers found against share of stayers alarmed in vain; the diagonal is chance."),
        [
            charts.Line(_("this version"), points),
            charts.Line(_("chance"), [(0, 0), (1, 1)], color="slate", dashed=True),
        ],
        charts.Axes(_("stayers alarmed"), _("leavers found"), percent=True, x_max=1, y_max=1),
    )


def _precision_recall(slug: str, curve: Mapping[str, list[float]]) -> charts.Chart:
    points = list(zip(curve["recall"], curve["precision"], strict=True))
    return charts.lines(
        f"{slug}-pr",
        _("Precision and recall"),
        _("How many of those named really leave, against how many of all leavers are named."),
        [charts.Line(_("this version"), points)],
        charts.Axes(_("leavers found"), _("correct among the named"), percent=True, x_max=1, y_max=1),
    )


def _reliability(slug: str, bins: list[Mapping[str, float]]) -> charts.Chart:
    points = [(part["predicted"], part["observed"]) for part in bins]
    return charts.lines(
        f"{slug}-reliability",
        _("Is “30 %” three in ten?"),
        _(
            "Predicted against observed share in ten groups of equal size; on the diagonal the chances are honest."
        ),
        [
            charts.Line(_("this version"), points, dots=True),
            charts.Line(_("honest"), [(0, 0), (1, 1)], color="slate", dashed=True),
        ],
        charts.Axes(_("predicted"), _("observed"), percent=True, x_max=1, y_max=1),
    )


def _gains(slug: str, deciles: list[Mapping[str, float]]) -> charts.Chart:
    points = [(0.0, 0.0), *((part["decile"] / len(deciles), part["gain"]) for part in deciles)]
    return charts.lines(
        f"{slug}-gains",
        _("What the top of the list holds"),
        _("Share of the whole reached by taking the highest-scored customers first; the diagonal is chance."),
        [
            charts.Line(_("this version"), points, dots=True),
            charts.Line(_("chance"), [(0, 0), (1, 1)], color="slate", dashed=True),
        ],
        charts.Axes(_("customers taken"), _("share reached"), percent=True, x_max=1, y_max=1),
    )


def _deciles(slug: str, deciles: list[Mapping[str, float]]) -> charts.Chart:
    return charts.lines(
        f"{slug}-deciles",
        _("Expected and real spend by tenth of customers"),
        _("Mean expected beside mean real spend, the highest-scored tenth first."),
        [
            charts.Line(_("expected"), [(part["decile"], part["predicted"]) for part in deciles], dots=True),
            charts.Line(_("real"), [(p["decile"], p["actual"]) for p in deciles], color="amber", dots=True),
        ],
        charts.Axes(_("tenth of customers"), _("spend a customer"), x_min=1, x_max=len(deciles)),
    )


def _confusion(curves: Mapping[str, Any]) -> charts.HeatTable | None:
    counts = curves.get("confusion")
    if not counts:
        return None
    classes = curves.get("classes") or [_("stays"), _("leaves")]
    named = [str(words.tier(name)) if name in words.TIERS else str(name) for name in classes]
    return charts.heat(_("Decided and true class"), named, counts)


def _lifts(curves: Mapping[str, Any]) -> charts.Table | None:
    if not curves.get("gains"):
        return None
    rows = tuple(
        (
            words.number(part["decile"]),
            words.number(part["rows"]),
            words.number(part["predicted"], 2),
            words.number(part["actual"], 2),
            words.percent(part["gain"]),
            words.number(part["lift"], 2),
        )
        for part in curves["gains"]
    )
    headers = (_("tenth"), _("customers"), _("predicted"), _("real"), _("reached so far"), _("lift"))
    return charts.Table(headers, rows)


def _subgroups(evaluation: Mapping[str, Any]) -> tuple[tuple[str, charts.Table], ...]:
    primary = evaluation.get("primary", "")
    title = str(METRICS.get(primary, (primary, ""))[0])
    found = []
    for group, values in evaluation.get("subgroups", {}).items():
        rows = tuple(
            (str(value), words.number(figure["rows"]), _figure(primary, figure[primary]))
            for value, figure in values.items()
            if primary in figure
        )
        if rows:
            name = str(GROUPS.get(group, group))
            found.append((name, charts.Table((name, _("customers"), title), rows)))
    return tuple(found)


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
