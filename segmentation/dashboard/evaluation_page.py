"""A finished evaluation for staff: what all tests say together, and each test with its curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _

from segmentation import targets
from segmentation.dashboard import model_page, words
from segmentation.dashboard.model_words import METRICS
from segmentation.models import EvaluationRun, Target


@dataclass(frozen=True)
class TargetFigures:
    """pooled: of all tests, where there are several. each: one entry a test, the last first open."""

    target: Target
    definition: str
    pooled: model_page.Figures | None
    each: tuple[tuple[str, model_page.Figures], ...]
    overview: tuple[tuple[str, str, str], ...]
    overview_title: str


def tested_on(run: EvaluationRun) -> str:
    days = ", ".join(words.day(parse_date(day), short=True) for day in run.origins)
    if run.folds:
        return _("%(folds)s folds") % {"folds": run.folds}
    return days or _("the latest possible day")


def reports(run: EvaluationRun) -> list[TargetFigures]:
    by_slug = {target.slug: target for target in run.targets.select_related("attribute")}
    return [
        _figures(by_slug[slug], family)
        for family in run.report
        for slug in sorted(family["mean"])
        if slug in by_slug
    ]


def _figures(target: Target, family: Mapping[str, Any]) -> TargetFigures:
    tests = {name: found for name, found in family["origins"].items() if target.slug in found["figures"]}
    names = sorted(tests, key=lambda name: (len(name), name))
    leading = tests[names[-1]]["figures"][target.slug].get("primary", "")
    pooled = family.get("pooled", {}).get(target.slug)
    each = tuple(
        (_name(name), _one(target, found, number))
        for number, (name, found) in enumerate((name, tests[name]) for name in names)
    )
    return TargetFigures(
        target=target,
        definition=targets.definition(target),
        pooled=_pooled(target, pooled, leading, family["origins"][names[-1]]["candidate"])
        if pooled
        else None,
        each=each,
        overview=tuple(
            _overview(name, found["figures"][target.slug])
            for name, found in ((name, tests[name]) for name in names)
        ),
        overview_title=str(METRICS.get(leading, (leading,))[0]),
    )


def _name(test: str) -> str:
    """A day in the reader's format, or the number of a fold."""
    if test.startswith("fold "):
        return _("Fold %(number)s") % {"number": test.removeprefix("fold ")}
    day = parse_date(test)
    return words.day(day) if day else test


def _one(target: Target, found: Mapping[str, Any], number: int) -> model_page.Figures:
    warnings = [*found["data"].get("warnings", ())]
    figures = found["figures"][target.slug]
    if figures.get("not_promised"):
        warnings.append(figures["not_promised"])
    return model_page.figures(f"{target.slug}-{number}", target, figures, warnings)


def _pooled(target: Target, pooled: Mapping[str, Any], leading: str, candidate: str) -> model_page.Figures:
    rows = dict(pooled["metrics"])
    own = rows.pop(candidate)
    found = {"primary": leading, "metrics": own, "baselines": rows, "differences": pooled["differences"]}
    return model_page.figures(f"{target.slug}-all", target, found, [])


def _overview(name: str, figures: Mapping[str, Any]) -> tuple[str, str, str]:
    leading = figures["primary"]
    figure = figures["metrics"][leading]
    return (
        _name(name),
        words.number(figures["rows"]),
        model_page.with_interval(leading, figure | {leading: figure["value"]}),
    )
