"""Answers of the targets that need sentences of their own: the next order, a risk, a group of similar customers."""

from __future__ import annotations

import numpy as np
from django.utils.translation import gettext as _

from segmentation import group_profiles, target_settings, targets
from segmentation.dashboard import words
from segmentation.models import Score, Target

OWN_WORDS = (Target.Kind.NEXT_ORDER, Target.Kind.RISK, Target.Kind.CLUSTERS, Target.Kind.UPLIFT)


def answer(score: Score) -> tuple[str, list[str]]:
    """(headline, lines below it)."""
    if score.target.kind == Target.Kind.NEXT_ORDER:
        return _next_order(score)
    if score.target.kind == Target.Kind.CLUSTERS:
        return _group(score)
    if score.target.kind == Target.Kind.UPLIFT:
        return effect(score.value or 0), []
    return _risk(score), []


def effect(value: float) -> str:
    """“4.2 points likelier to order with it”."""
    points = {"points": words.number(abs(value) * 100, 1)}
    if round(value * 100, 1) == 0:
        return _("the offer changes nothing")
    if value > 0:
        return _("%(points)s percentage points likelier to order with the offer") % points
    return _("%(points)s percentage points less likely to order with the offer") % points


def _next_order(score: Score) -> tuple[str, list[str]]:
    days = target_settings.next_days(score.target)
    chances = np.frombuffer(bytes(score.probabilities or b""), dtype="<f8")
    if len(chances) != len(days) + 1:
        return str(words.tier(score.label)), []
    likely = next((day for day, chance in zip(days, chances, strict=False) if chance >= 0.5), None)
    if likely is None:
        headline = _("more likely no order within %(days)s days") % {"days": days[-1]}
    else:
        headline = _("likely to order within %(days)s days") % {"days": likely}
    lines = [
        _("an order within %(days)s days: %(percent)s") % {"days": day, "percent": words.percent(chance)}
        for day, chance in zip(days, chances, strict=False)
    ]
    return headline, lines


def _risk(score: Score) -> str:
    percent = words.percent(score.value or 0, 0)
    if targets.is_anomaly(score.target):
        return _("more unusual than %(percent)s of customers") % {"percent": percent}
    labels = ", ".join(target_settings.positives(score.target))
    if labels == target_settings.YES:
        return _("risk %(percent)s") % {"percent": percent}
    return _("%(label)s: %(percent)s") % {"label": labels, "percent": percent}


def _group(score: Score) -> tuple[str, list[str]]:
    profile = (score.version.config.get("profiles") or {}).get(score.label, {})
    return str(words.tier(score.label)), [group_profiles.sentence(profile)] if profile else []
