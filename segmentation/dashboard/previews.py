"""Whom a rule would reach, for the rule builder: JSON in, JSON out."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from segmentation.dashboard import words
from segmentation.models import Segment
from segmentation.rules.language import RuleError


def answer(request: HttpRequest) -> dict[str, Any]:
    """Body: {"rule": JSON or null, "segment": id or null}. Either the reach or {"problem": {path, message}}."""
    from segmentation import previews

    try:
        asked = json.loads(request.body or b"{}")
        segment = Segment.objects.filter(pk=asked["segment"]).first() if asked.get("segment") else None
        found = previews.reach(asked.get("rule"), segment=segment)
    except RuleError as error:
        return _problem(error.path, error.message)
    except (ValueError, TypeError, AttributeError):
        return _problem("", _("The rule could not be read."))
    return shown(found)


def shown(reach: Any) -> dict[str, Any]:
    return {
        "count": words.number(reach.count),
        "sentence": _("%(share)s of %(total)s customers that have been classified")
        % {"share": words.percent(reach.share, 1), "total": words.number(reach.total)},
        "tiers": [
            {"label": str(words.tier(tier)), "count": count, "shown": words.number(count)}
            for tier, count in reach.by_tier.items()
        ],
        "sample": [
            {"reference": reference, "url": reverse("admin:segmentation_customer_change", args=[pk])}
            for pk, reference in reach.sample
        ],
    }


def _problem(path: str, message: str) -> dict[str, Any]:
    return {"problem": {"path": path, "message": message}}
