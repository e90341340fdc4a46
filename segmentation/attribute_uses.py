"""What asks for a column of the shop's own: while anything does, it can neither go nor become something else."""

from __future__ import annotations

from django.utils.translation import gettext as _

from segmentation.models import (
    AttributeDefinition,
    Campaign,
    CampaignRule,
    Offer,
    Segment,
    ServicePriorityRule,
)
from segmentation.offer_texts import ATTRIBUTE, BRACES
from segmentation.rules import language


class AttributeInUse(ValueError):
    """The message names what uses it."""

    def __init__(self, definition: AttributeDefinition, users: tuple[str, ...]) -> None:
        words = {"name": definition.label, "users": ", ".join(users)}
        super().__init__(_("“%(name)s” is used by %(users)s. Change these first.") % words)


def users_of(definition: AttributeDefinition) -> tuple[str, ...]:
    """Segments, campaigns that have not ended, priority rules, offers and targets that ask for it, in words."""
    users = [*_rules(f"attribute.{definition.slug}"), *_offers(definition.slug), *_targets(definition)]
    return tuple(dict.fromkeys(users))


def _rules(field: str) -> list[str]:
    segments = Segment.objects.exclude(version=None).order_by("name").values_list("name", "version__rule")
    campaigns = (
        CampaignRule.objects.exclude(campaign__status=Campaign.Status.ENDED)
        .order_by("campaign__name")
        .values_list("campaign__name", "condition", "uplift_field")
    )
    priorities = ServicePriorityRule.objects.order_by("position").values_list("name", "condition")
    return [
        *(_("segment “%(name)s”") % {"name": name} for name, rule in segments if _names(rule, field)),
        *(
            _("campaign “%(name)s”") % {"name": name}
            for name, rule, uplift in campaigns
            if uplift == field or _names(rule, field)
        ),
        *(_("priority rule “%(name)s”") % {"name": name} for name, rule in priorities if _names(rule, field)),
    ]


def _names(rule: object, field: str) -> bool:
    return rule is not None and field in language.names_in(rule)


def _targets(definition: AttributeDefinition) -> list[str]:
    """What is learned from it, which the database protects as well."""
    names = definition.targets.order_by("name").values_list("name", flat=True)
    return [_("target “%(name)s”") % {"name": name} for name in names]


def _offers(slug: str) -> list[str]:
    return [
        _("offer “%(name)s”") % {"name": offer.name}
        for offer in Offer.objects.filter(is_active=True).prefetch_related("texts")
        if any(
            f"{ATTRIBUTE}{slug}" in BRACES.findall(text)
            for text in (offer.text, *(row.text for row in offer.texts.all()))
        )
    ]
