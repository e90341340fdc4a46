"""Install the starter set. What was installed once is never made again, so edits and deletions by staff stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction

from segmentation import campaigns, holdouts, segments, service_rules, targets
from segmentation.models import (
    AuditEntry,
    Campaign,
    CampaignRule,
    HoldoutGroup,
    Offer,
    Segment,
    ServicePriorityRule,
    Shop,
)
from segmentation.starter_set import (
    CAMPAIGNS,
    GLOBAL_HOLDOUT_PERCENT,
    OFFERS,
    PRIORITIES,
    SEGMENTS,
    StarterCampaign,
    StarterOffer,
    StarterPriority,
    StarterSegment,
)

ACTION = "starter.installed"


@dataclass(frozen=True)
class _Part:
    """One thing to install under a key that is remembered."""

    key: str
    make: Callable[[], Any]


def install(*, by: Any = None) -> tuple[str, ...]:
    """Make what is new in the starter set; returns its keys ("segment:new", …), nothing on a second run."""
    with transaction.atomic():
        Shop.get()
        # One at a time: a second installer waits here and then finds everything made.
        shop = Shop.objects.select_for_update().get(pk=1)
        targets.install()
        known = _installed_before()
        made = []
        for part in _parts(shop, by):
            if part.key not in known:
                part.make()
                made.append(part.key)
        if made:
            AuditEntry.record(ACTION, actor=by, made=made)
    return tuple(made)


def _installed_before() -> set[str]:
    details = AuditEntry.objects.filter(action=ACTION).values_list("detail", flat=True)
    return {key for detail in details for key in detail["made"]}


def _parts(shop: Shop, by: Any) -> Iterator[_Part]:
    """In the order in which they refer to each other."""
    for segment in SEGMENTS:
        yield _Part(f"segment:{segment.slug}", partial(_make_segment, segment, by))
    for offer in OFFERS:
        yield _Part(f"offer:{offer.slug}", partial(_make_offer, offer, shop))
    for campaign in CAMPAIGNS:
        yield _Part(f"campaign:{campaign.slug}", partial(_make_campaign, campaign, by))
    for priority in PRIORITIES:
        yield _Part(f"priority:{priority.segment}", partial(_make_priority, priority))
    yield _Part("holdout:global", partial(_make_holdout, by))


def _make_segment(starter: StarterSegment, by: Any) -> None:
    """A segment of that short name that staff made stays theirs."""
    segment, created = Segment.objects.get_or_create(
        slug=starter.slug,
        defaults={"name": str(starter.name), "description": str(starter.description), "kind": starter.kind},
    )
    if created:
        segments.save_rule(segment, starter.rule, by=by)


def _make_offer(starter: StarterOffer, shop: Shop) -> None:
    Offer.objects.get_or_create(
        slug=starter.slug,
        defaults={
            "name": str(starter.name),
            "kind": starter.kind,
            "text": str(starter.text),
            "percentage": starter.percentage,
            "value_minor": starter.value * shop.minor_per_major,
            "cost_minor": starter.cost * shop.minor_per_major,
            "code": starter.code,
            "valid_days": starter.valid_days,
            "products_fallback": str(starter.products_fallback),
        },
    )


def _make_campaign(starter: StarterCampaign, by: Any) -> None:
    campaign, created = Campaign.objects.get_or_create(
        slug=starter.slug,
        defaults={
            "name": str(starter.name),
            "description": str(starter.description),
            "priority": starter.priority,
            "needs_marketing_consent": False,
        },
    )
    rules = _usable_rules(starter)
    if not created or not rules:
        return
    CampaignRule.objects.bulk_create(
        CampaignRule(campaign=campaign, position=position, name=segment.name, segment=segment, offer=offer)
        for position, (segment, offer) in enumerate(rules, start=1)
    )
    if all(segment.version_id and segment.is_active and offer.is_active for segment, offer in rules):
        campaigns.move(campaign, Campaign.Status.RUNNING, by=by)


def _usable_rules(starter: StarterCampaign) -> list[tuple[Segment, Offer]]:
    """The campaign's rules whose segment and offer are (still) there."""
    found_segments = {segment.slug: segment for segment in Segment.objects.all()}
    found_offers = {offer.slug: offer for offer in Offer.objects.all()}
    return [
        (found_segments[whom], found_offers[gets])
        for whom, gets in starter.rules
        if whom in found_segments and gets in found_offers
    ]


def _make_priority(starter: StarterPriority) -> None:
    segment = Segment.objects.filter(slug=starter.segment).first()
    if segment is None:
        return
    ServicePriorityRule.objects.create(
        position=service_rules.next_position(),
        name=str(starter.name),
        segment=segment,
        level=starter.level,
        handling=str(starter.handling),
    )


def _make_holdout(by: Any) -> None:
    if not HoldoutGroup.objects.filter(campaign=None).exists():
        holdouts.set_global(GLOBAL_HOLDOUT_PERCENT, by=by)
