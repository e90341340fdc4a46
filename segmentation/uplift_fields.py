"""Which score says how much an offer moves a customer: the serving uplift model of a campaign, or of an offer."""

from __future__ import annotations

from collections.abc import Mapping

from segmentation.models import CampaignRule, ModelSlot, Target

Fields = Mapping[tuple[str, int], str]


def known() -> Fields:
    """("campaign" | "offer", id) → rule field, for every active uplift target with a champion; the first by slug."""
    slots = ModelSlot.objects.filter(
        champion__isnull=False, target__kind=Target.Kind.UPLIFT, target__is_active=True
    ).select_related("target")
    found: dict[tuple[str, int], str] = {}
    for slot in slots.order_by("target__slug"):
        target = slot.target
        key = ("campaign", target.campaign_id) if target.campaign_id else ("offer", target.offer_id or 0)
        found.setdefault(key, f"score.{target.slug}")
    return found


def of_rule(rule: CampaignRule, fields: Fields) -> str:
    """The field that the rule names itself, else that of its campaign's model, else of its offer's; "" for none."""
    return (
        rule.uplift_field
        or fields.get(("campaign", rule.campaign_id), "")
        or fields.get(("offer", rule.offer_id), "")
    )
