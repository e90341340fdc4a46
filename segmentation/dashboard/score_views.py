"""A customer's scores in words, with the reasons for and against where a worker has found them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation import overrides, targets
from segmentation.dashboard import target_words, words
from segmentation.features.catalogue import BY_NAME
from segmentation.kinds import EventKind
from segmentation.models import AttributeDefinition, Customer, Score, ScoreOverride, Shop
from segmentation.models.events import KIND_CHOICES

ATTRIBUTE, EVENTS = "attribute.", "events."
KINDS = dict(KIND_CHOICES)
# How the shares of a learner were found (segmentation/ml/explanation.py).
METHODS: dict[str, words.Text] = {
    "lightgbm": gettext_lazy("TreeSHAP from the average customer learned from"),
    "mlp": gettext_lazy("integrated gradients from the median customer"),
    "logistic": gettext_lazy("terms of the linear model from the average customer"),
    "btyd": gettext_lazy("terms of the linear model from the average customer"),
    "t_learner": gettext_lazy("TreeSHAP from the average customer learned from"),
    "x_learner": gettext_lazy("TreeSHAP from the average customer learned from"),
    "class_transformation": gettext_lazy("TreeSHAP from the average customer learned from"),
    "two_head": gettext_lazy("integrated gradients from the median customer"),
    "occlusion": gettext_lazy("occlusion: what the answer loses once a value is a usual one"),
}
# For and against, by kind of target; classes name theirs.
SIDES: dict[str, tuple[words.Text, words.Text]] = {
    "churn": (gettext_lazy("Speaks for leaving"), gettext_lazy("Speaks for staying")),
    "future_value": (
        gettext_lazy("Raises the expected spend"),
        gettext_lazy("Lowers the expected spend"),
    ),
    "uplift": (gettext_lazy("Makes the offer work more"), gettext_lazy("Makes the offer work less")),
    "risk": (gettext_lazy("Speaks for the risk"), gettext_lazy("Speaks against the risk")),
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
    """One target's answer in words. `sides`: what speaks for it and against it, `method`: how that was found.

    looked_at: events that a network attended to, which is no reason. What staff set stands in the headline, and the
    model's own answer in the detail.
    """

    target_id: int
    name: str
    definition: str
    headline: str
    detail: tuple[str, ...]
    version_id: int
    version_number: int
    up_to: date
    is_set_by_staff: bool
    sides: tuple[Side, ...]
    method: str
    looked_at: tuple[Reason, ...] = ()


def of_customer(
    customer: Customer, shop: Shop, said: Sequence[ScoreOverride] | None = None
) -> tuple[ScoreView, ...]:
    """In a handful of queries. said: what staff set, where the caller has read it."""
    rows = Score.objects.filter(customer=customer).select_related("target__attribute", "version", "customer")
    scores = list(rows.order_by("target__slug"))
    labels = _attribute_labels(scores)
    by_target = {row.target_id: row for row in (overrides.of_customer(customer) if said is None else said)}
    return tuple(_view(score, shop, labels, by_target.get(score.target_id)) for score in scores)


def set_by(row: ScoreOverride) -> str:
    """“Set by eva on 3 May until 3 June: …”."""
    words_ = {
        "who": row.set_by.get_username() if row.set_by else _("somebody"),
        "day": words.day(row.set_at),
        "until": words.day(row.last_day),
        "reason": row.reason,
    }
    if row.last_day is None:
        return _("Set by %(who)s on %(day)s, until somebody lifts it: %(reason)s") % words_
    return _("Set by %(who)s on %(day)s, until %(until)s: %(reason)s") % words_


def _view(score: Score, shop: Shop, labels: Mapping[str, str], said: ScoreOverride | None) -> ScoreView:
    headline, detail = _answer(score, shop)
    if said is not None:
        model = _("The model says: %(answer)s") % {"answer": headline}
        headline = _("%(label)s (set by staff)") % {"label": words.tier(said.label)}
        detail = [set_by(said), model, *detail]
    known = score.reasons or {}
    return ScoreView(
        target_id=score.target_id,
        name=score.target.name,
        definition=targets.definition(score.target),
        headline=headline,
        detail=tuple(detail),
        version_id=score.version_id,
        version_number=score.version.number,
        # Scores know what happened before `as_of`; staff read the last day that counted.
        up_to=score.as_of - timedelta(days=1),
        is_set_by_staff=said is not None,
        sides=tuple(sides(score, known, shop, labels)),
        method="; ".join(dict.fromkeys(str(METHODS[name]) for name in known.get("members", ()))),
        looked_at=tuple(_looked_at(score, known, shop)),
    )


def _answer(score: Score, shop: Shop) -> tuple[str, list[str]]:
    if score.abstain_reason:
        needed = score.target.min_orders
        return str(words.abstain(score.abstain_reason, orders=score.customer.orders, needed=needed)), []
    if score.target.kind == "churn":
        return words.risk(score.value), []
    if score.target.kind == "future_value":
        return words.major(score.value, shop.base_currency), _interval(score, shop)
    if score.target.kind in target_words.OWN_WORDS:
        return target_words.answer(score)
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


def sides(
    score: Score, known: Mapping[str, Any], shop: Shop, labels: Mapping[str, str] | None = None
) -> Iterator[Side]:
    """What speaks for the answer and against it. known: "shares" and "usual_gap_days" of Score.reasons or of LIME."""
    labels = _labels_of(known) if labels is None else labels
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


def _looked_at(score: Score, known: Mapping[str, Any], shop: Shop) -> Iterator[Reason]:
    """“Ordered, 3 May, £20”, with its share of the attention in percent."""
    for kind, days_ago, amount, share in known.get("looked_at", ()):
        said = {"what": KINDS.get(kind, kind), "day": words.day(score.as_of - timedelta(days=days_ago))}
        if amount:
            paid = words.major(amount, shop.base_currency)
            yield Reason(_("%(what)s on %(day)s: %(amount)s") % {**said, "amount": paid}, round(100 * share))
        else:
            yield Reason(_("%(what)s on %(day)s") % said, round(100 * share))


def _titles(score: Score) -> tuple[words.Text, words.Text]:
    if score.target.kind in SIDES:
        return SIDES[score.target.kind]
    label = {"label": words.tier(score.label)}
    return _("Speaks for “%(label)s”") % label, _("Speaks against “%(label)s”") % label


def _sentence(name: str, value: Any, known: Mapping[str, Any], shop: Shop, labels: Mapping[str, str]) -> str:
    if name.startswith(ATTRIBUTE):
        return f"{labels.get(name, name.removeprefix(ATTRIBUTE))}: {words.plain(value)}"
    if name.startswith(EVENTS):
        return _("Among the newest events: %(kind)s × %(count)s") % {
            "kind": dict(KIND_CHOICES)[EventKind(int(name.removeprefix(EVENTS)))],
            "count": words.number(value or 0),
        }
    feature = BY_NAME[name]
    gap = known.get("usual_gap_days")
    if name == "recency_days" and value is not None and gap:
        said = {"days": words.feature(value, "days", shop), "gap": words.feature(round(gap), "days", shop)}
        return _("No order for %(days)s; usually one every %(gap)s") % said
    return feature.say(None if value is None else words.feature(value, feature.unit, shop))


def _attribute_labels(scores: Sequence[Score]) -> dict[str, str]:
    """The shop's names of its own columns, where one is among the reasons."""
    names = {row[0] for score in scores for row in (score.reasons or {}).get("shares", ())}
    return _labels_of({"shares": [(name, 0, None) for name in names]})


def _labels_of(known: Mapping[str, Any]) -> dict[str, str]:
    names = {row[0] for row in known.get("shares", ())}
    slugs = [name.removeprefix(ATTRIBUTE) for name in names if name.startswith(ATTRIBUTE)]
    if not slugs:
        return {}
    found = AttributeDefinition.objects.filter(slug__in=slugs).values_list("slug", "label")
    return {f"{ATTRIBUTE}{slug}": label for slug, label in found}
