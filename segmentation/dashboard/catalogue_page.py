"""The features: what each means, how it is spread over the customers, and for how many it is not known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from django.utils.translation import gettext as _

from segmentation.dashboard import charts, words
from segmentation.features.baskets import IN_THE_BASKET
from segmentation.features.buying import BUYING
from segmentation.features.engagement import ENGAGEMENT
from segmentation.features.feature import Feature
from segmentation.features.outlook import OUTLOOK
from segmentation.features.texts import TEXTS
from segmentation.models import AttributeDefinition, FeaturePortrait

MEDIAN = 4  # of the nine deciles
HEIGHT = 120


@dataclass(frozen=True)
class FeatureView:
    """`sentence` is said of the customer in the middle; `missing` and `chart` are None before a classification."""

    slug: str
    label: words.Text
    sentence: str
    missing: str | None = None
    chart: charts.Chart | None = None


@dataclass(frozen=True)
class Family:
    title: str
    features: tuple[FeatureView, ...]


def families(portrait: FeaturePortrait | None) -> list[Family]:
    """Every feature of the catalogue and the shop's own, in families."""
    drawn = portrait.data if portrait is not None else {}
    titles: tuple[tuple[str, Sequence[Feature]], ...] = (
        (_("When and how much they buy"), BUYING),
        (_("What is in the orders"), IN_THE_BASKET),
        (_("Visits, reviews, support and offers"), ENGAGEMENT),
        (_("What they write"), TEXTS),
        (_("What is expected, and who they are"), OUTLOOK),
    )
    found = [Family(title, tuple(_feature(item, drawn) for item in items)) for title, items in titles]
    own = tuple(_attribute(item, drawn) for item in AttributeDefinition.objects.filter(is_feature=True))
    return [*found, Family(_("Columns of your own"), own)] if own else found


def _feature(feature: Feature, drawn: Mapping[str, Any]) -> FeatureView:
    seen = drawn.get(feature.name, {})
    middle = seen["deciles"][MEDIAN] if "deciles" in seen else None
    typical = words.NOTHING if middle is None else _said(middle, feature.unit)
    return _view(feature.name, feature.label, feature.say(typical), seen, feature.unit)


def _attribute(definition: AttributeDefinition, drawn: Mapping[str, Any]) -> FeatureView:
    name = f"attribute.{definition.slug}"
    return _view(name, definition.label, definition.description, drawn.get(name, {}), "")


def _view(name: str, label: words.Text, sentence: str, seen: Mapping[str, Any], unit: str) -> FeatureView:
    slug = name.replace(".", "-")
    if not seen:
        return FeatureView(slug, label, sentence)
    bars = charts.bars(slug, str(label), list(_bars(seen, unit)))
    chart = charts.Chart(bars.slug, bars.title, bars.summary, bars.config, bars.table, HEIGHT)
    return FeatureView(slug, label, sentence, words.percent(seen["missing"], 1), chart)


def _bars(seen: Mapping[str, Any], unit: str) -> Iterable[tuple[str, int]]:
    if "edges" in seen:
        for (low, high), count in zip(pairwise(seen["edges"]), seen["counts"], strict=True):
            yield f"{_said(low, unit)} – {_said(high, unit)}", count
    else:
        for value, count in seen["values"]:
            yield _said(value, unit), count


def _said(value: Any, unit: str) -> str:
    if not isinstance(value, float):
        return words.plain(value)
    if unit == "share":
        return words.percent(value)
    return words.number(
        value, 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    )
