"""What a finished classification brought, as charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from segmentation.dashboard import charts, words
from segmentation.models import ModelVersion, Offer, ScoringRun, Segment, Target
from segmentation.models.customers import PriorityLevel


def pinned_versions(run: ScoringRun) -> list[tuple[Target, ModelVersion | None]]:
    """The version that answers each target in this run."""
    versions = ModelVersion.objects.in_bulk([pk for pk in run.pinned_versions.values() if pk])
    targets = Target.objects.filter(slug__in=run.pinned_versions)
    return [(target, versions.get(run.pinned_versions[target.slug])) for target in targets]


def result_charts(summary: Mapping[str, Any]) -> list[charts.Chart]:
    """Customers by tier, segment, offer and priority, as the run's summary counted them."""
    drawn = [
        charts.bars("tiers", _("Customers by value tier"), tiers(summary.get("tiers", {}))),
        charts.bars(
            "segments",
            _("Customers by segment"),
            _named(Segment, summary.get("segments", {})),
            horizontal=True,
        ),
        charts.bars(
            "offers", _("Customers by offer"), _named(Offer, summary.get("offers", {})), horizontal=True
        ),
        charts.bars(
            "priorities", _("Customers by service priority"), priorities(summary.get("priorities", {}))
        ),
    ]
    return [chart for chart in drawn if chart.config["data"]["labels"]]


def tiers(counts: Mapping[str, int]) -> list[tuple[words.Text, int]]:
    known = [slug for slug in words.TIERS if slug in counts]
    return [(words.tier(slug), counts[slug]) for slug in [*known, *sorted(set(counts) - set(known))]]


def priorities(counts: Mapping[Any, int]) -> list[tuple[words.Text, int]]:
    by_level = {int(level): count for level, count in counts.items()}
    return [(label, by_level[value]) for value, label in reversed(PriorityLevel.choices) if value in by_level]


def _named(model: Any, counts: Mapping[str, int]) -> list[tuple[str, int]]:
    names = dict(model.objects.filter(slug__in=counts).values_list("slug", "name"))
    return sorted(((names.get(slug, slug), count) for slug, count in counts.items()), key=lambda row: -row[1])
