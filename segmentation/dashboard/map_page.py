"""A map of customers as a chart, coloured by tier, risk or one segment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from segmentation.dashboard import charts, words
from segmentation.features.catalogue import BY_NAME
from segmentation.models import CustomerMap

TIER, RISK, SEGMENT = "tier", "risk", "segment:"
COLORS = {
    "high": "primary",
    "middle": "teal",
    "low": "amber",
    "none": "slate",
    "stays": "teal",
    "unsure": "amber",
    "leaves": "rose",
}
_PLACE = {TIER: 2, RISK: 3}


def choices(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the points may be coloured by."""
    segments = [(f"{SEGMENT}{slug}", name) for slug, name in sorted(result["segments"].items())]
    return [(TIER, _("Value tier")), (RISK, _("Risk")), *segments]


def chart(row: CustomerMap, by: str) -> charts.Chart:
    found: Mapping[str, Any] = row.result or {}
    groups: dict[str, list[tuple[float, float]]] = {}
    for point in found["points"]:
        groups.setdefault(_group(point, by), []).append((point[0], point[1]))
    series = [
        charts.Line(_words(name, by), points, color=_color(name, by), dots=True)
        for name, points in sorted(groups.items())
    ]
    told = "; ".join(f"{line.label}: {words.number(len(line.points))}" for line in series)
    return charts.scatter("map", _("Customers by what they do"), told, series, *_axes(found))


def _group(point: list[Any], by: str) -> str:
    if by.startswith(SEGMENT):
        return "in" if by.removeprefix(SEGMENT) in point[4] else "out"
    return str(point[_PLACE.get(by, 2)])


def _words(name: str, by: str) -> str:
    if by.startswith(SEGMENT):
        return _("in the segment") if name == "in" else _("not in it")
    if by == RISK:
        return str({band.slug: band.words for band in words.RISK_BANDS}.get(name, _("no score")))
    return str(words.tier(name)) if name else _("no score")


def _color(name: str, by: str) -> str:
    if by.startswith(SEGMENT):
        return "primary" if name == "in" else "slate"
    return COLORS.get(name, "blue")


def _axes(found: Mapping[str, Any]) -> tuple[str, str]:
    """What moves along them; of t-SNE nothing can be said."""
    told = []
    for share, features in zip(found.get("explained", ()), found.get("axes", ()), strict=False):
        named = ", ".join(str(BY_NAME[name].label) if name in BY_NAME else name for name in features)
        told.append(
            _("%(features)s … (%(share)s of all variation)")
            % {"features": named, "share": words.percent(share)}
        )
    return (told[0] if told else "", told[1] if len(told) > 1 else "")
