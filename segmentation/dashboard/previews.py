"""Whom a rule would reach, for the rule builder: JSON in, JSON out."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from segmentation import previews
from segmentation.dashboard import words
from segmentation.dashboard.charts import Table
from segmentation.models import Segment
from segmentation.models.customers import PriorityLevel
from segmentation.rules.language import RuleError


def answer(request: HttpRequest) -> dict[str, Any]:
    """Body: {"rule": JSON or null, "segment": id or null}. Either the reach or {"problem": {path, message}}."""
    try:
        asked = json.loads(request.body or b"{}")
        segment = Segment.objects.filter(pk=asked["segment"]).first() if asked.get("segment") else None
        found = previews.reach(asked.get("rule"), segment=segment)
    except RuleError as error:
        return _problem(error.path, error.message)
    except (ValueError, TypeError, AttributeError):
        return _problem("", _("The rule could not be read."))
    return shown(found)


def shown(reach: previews.Reach) -> dict[str, Any]:
    return {
        "count": words.number(reach.count),
        "sentence": _reach_sentence(reach),
        "tiers": [
            {"label": str(words.tier(tier)), "count": count, "shown": words.number(count)}
            for tier, count in sorted(reach.by_tier.items(), key=_tier_order)
        ],
        "sample": [
            {"reference": reference, "url": reverse("admin:segmentation_customer_change", args=[pk])}
            for pk, reference in reach.sample
        ],
    }


def _tier_order(item: tuple[str, int]) -> int:
    known = list(words.TIERS)
    return known.index(item[0]) if item[0] in known else len(known)


def _reach_sentence(reach: previews.Reach) -> str:
    if not reach.total:
        return _("No customer has been classified yet; classify first to see numbers.")
    given = {"share": words.percent(reach.share, 1), "total": words.number(reach.total)}
    if reach.is_exact:
        return _("%(share)s of %(total)s classified customers") % given
    return _("%(share)s of %(total)s classified customers, give or take %(margin)s (from a sample)") % {
        **given,
        "margin": words.number(reach.margin),
    }


def campaign(reach: previews.CampaignReach, currency: str) -> dict[str, Any]:
    """Context of the panel “if it ran today”."""
    headers = (_("Rule"), _("Fits"), _("Gets it"), _("Held out"), _("No consent"), _("Another comes first"))
    rows = tuple(_rule_row(number, rule) for number, rule in enumerate(reach.rules, start=1))
    return {
        "total": words.number(reach.total),
        "gets": words.number(reach.gets),
        "margin": words.number(reach.margin) if reach.margin else "",
        "cost": words.money(reach.cost_minor, currency, whole=True),
        "table": Table(headers, rows),
        "outranked_by": [(name, words.number(count)) for name, count in reach.outranked_by.items()],
    }


def _rule_row(number: int, rule: previews.RuleReach) -> tuple[str, ...]:
    title = _("%(rule)s: %(offer)s") % {"rule": rule.name or f"#{number}", "offer": rule.offer}
    counts = (rule.fits, rule.gets, rule.held_out, rule.no_consent, rule.outranked)
    return (title, *(words.number(count) for count in counts))


def priority(reach: previews.PriorityReach) -> dict[str, Any]:
    """Context of the panel of a priority rule."""
    moves = [
        (PriorityLevel(before).label, PriorityLevel(after).label, words.number(count))
        for (before, after), count in reach.moves.items()
    ]
    return {
        "total": words.number(reach.total),
        "fits": words.number(reach.fits),
        "margin": words.number(reach.margin) if reach.margin else "",
        "changes": words.number(reach.changes),
        "moves": moves,
    }


def _problem(path: str, message: str) -> dict[str, Any]:
    return {"problem": {"path": path, "message": message}}
