"""A customer's scores in words, with the reasons for and against where a worker has found them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation import targets
from segmentation.dashboard import words
from segmentation.features.catalogue import BY_NAME
from segmentation.models import AttributeDefinition, Customer, Score, Shop

ATTRIBUTE = "attribute."
# How the shares of a learner were found (segmentation/ml/explanation.py).
METHODS: dict[str, words.Text] = {
    "lightgbm": gettext_lazy("TreeSHAP from the average customer learned from"),
    "mlp": gettext_lazy("integrated gradients from the median customer"),
    "logistic": gettext_lazy("terms of the linear model from the average customer"),
    "btyd": gettext_lazy("terms of the linear model from the average customer"),
}
# For and against, by kind of target; classes name theirs.
SIDES: dict[str, tuple[words.Text, words.Text]] = {
    "churn": (gettext_lazy("Speaks for leaving"), gettext_lazy("Speaks for staying")),
    "future_value": (
        gettext_lazy("Raises the expected spend"),
        gettext_lazy("Lowers the expected spend"),
    ),
}


@dataclass(frozen=True)
class Reason:
    """A sentence with the customer's value; `weight` is its part of all shares shown, in percent."""

    sentence: str
    weight: int


@dataclass(frozen=True)
class Side:
    title: words.Text
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class ScoreView:
    """One target's answer in words. `sides`: what speaks for it and against it, `method`: how that was found."""

    name: str
    definition: str
    headline: str
    detail: tuple[str, ...]
    version_id: int
    version_number: int
    up_to: date
    sides: tuple[Side, ...]
    method: str


def of_customer(customer: Customer, shop: Shop) -> tuple[ScoreView, ...]:
    """In two queries."""
    rows = Score.objects.filter(customer=customer).select_related("target__attribute", "version")
    scores = list(rows.order_by("target__slug"))
    labels = _attribute_labels(scores)
    return tuple(_view(score, shop, labels) for score in scores)


def _view(score: Score, shop: Shop, labels: Mapping[str, str]) -> ScoreView:
    headline, detail = _answer(score, shop)
    known = score.reasons or {}
    return ScoreView(
        name=score.target.name,
        definition=targets.definition(score.target),
        headline=headline,
        detail=tuple(detail),
        version_id=score.version_id,
        version_number=score.version.number,
        # Scores know what happened before `as_of`; staff read the last day that counted.
        up_to=score.as_of - timedelta(days=1),
        sides=tuple(_sides(score, known, shop, labels)),
        method="; ".join(dict.fromkeys(str(METHODS[name]) for name in known.get("members", ()))),
    )


def _answer(score: Score, shop: Shop) -> tuple[str, list[str]]:
    if score.abstain_reason:
        return str(words.abstain(score.abstain_reason)), []
    if score.target.kind == "churn":
        return words.risk(score.value), []
    if score.target.kind == "future_value":
        return words.major(score.value, shop.base_currency), _interval(score, shop)
    likely = _("certain to %(percent)s") % {"percent": words.percent(score.value or 0)}
    return str(words.tier(score.label)), [likely]


def _interval(score: Score, shop: Shop) -> list[str]:
    lines = []
    if score.lower is not None and score.upper is not None:
        lines.append(
            _("most likely between %(low)s and %(high)s")
            % {
                "low": words.major(score.lower, shop.base_currency),
                "high": words.major(score.upper, shop.base_currency),
            }
        )
    if score.median is not None:
        lines.append(_("half of such customers spend less than %(median)s") % {
            "median": words.major(score.median, shop.base_currency)
        })  # fmt: skip
    return lines


def _sides(score: Score, known: Mapping[str, Any], shop: Shop, labels: Mapping[str, str]) -> Iterator[Side]:
    shares: Sequence[tuple[str, float, Any]] = known.get("shares", ())
    whole = sum(abs(share) for _name, share, _value in shares) or 1.0
    for title, sign in zip(_titles(score), (1, -1), strict=True):
        found = tuple(
            Reason(_sentence(name, value, known, shop, labels), round(100 * abs(share) / whole))
            for name, share, value in shares
            if share * sign > 0
        )
        if found:
            yield Side(title, found)


def _titles(score: Score) -> tuple[words.Text, words.Text]:
    if score.target.kind in SIDES:
        return SIDES[score.target.kind]
    label = {"label": words.tier(score.label)}
    return _("Speaks for “%(label)s”") % label, _("Speaks against “%(label)s”") % label


def _sentence(name: str, value: Any, known: Mapping[str, Any], shop: Shop, labels: Mapping[str, str]) -> str:
    if name.startswith(ATTRIBUTE):
        return f"{labels.get(name, name.removeprefix(ATTRIBUTE))}: {words.plain(value)}"
    feature = BY_NAME[name]
    gap = known.get("usual_gap_days")
    if name == "recency_days" and value is not None and gap:
        said = {"days": words.feature(value, "days", shop), "gap": words.feature(round(gap), "days", shop)}
        return _("No order for %(days)s; usually one every %(gap)s") % said
    return feature.say(None if value is None else words.feature(value, feature.unit, shop))


def _attribute_labels(scores: Sequence[Score]) -> dict[str, str]:
    """The shop's names of its own columns, where one is among the reasons."""
    names = {row[0] for score in scores for row in (score.reasons or {}).get("shares", ())}
    slugs = [name.removeprefix(ATTRIBUTE) for name in names if name.startswith(ATTRIBUTE)]
    if not slugs:
        return {}
    found = AttributeDefinition.objects.filter(slug__in=slugs).values_list("slug", "label")
    return {f"{ATTRIBUTE}{slug}": label for slug, label in found}
