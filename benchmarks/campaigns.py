"""Thirty campaigns such as a shop has running at once: most with hours, budgets, groups, holdouts, or beside others."""

from __future__ import annotations

from datetime import time
from typing import Any

from benchmarks import rules

WEEKLY = 2
# One offer in so many customers is what a budget pays for.
BUDGET_SHARE = 20
COST_MINOR = 100


def install(count: int) -> None:
    """End what runs; start `count` campaigns of one offer each, under a cap of two offers a week."""
    from segmentation import campaigns
    from segmentation.models import Campaign, Customer, FrequencyCap, Shop

    today = Shop.get().today()
    for campaign in Campaign.objects.exclude(status=Campaign.Status.ENDED):
        campaigns.move(campaign, Campaign.Status.ENDED, today=today)
    FrequencyCap.objects.create(name="Week", most=WEEKLY, days=7)
    budget = Customer.objects.count() // BUDGET_SHARE
    for number in range(count):
        made = _made(number, count, budget)
        campaigns.move(made, Campaign.Status.RUNNING, today=today)


def _made(number: int, count: int, budget: int) -> Any:
    from segmentation.models import Campaign, CampaignRule, Offer, Segment

    offer = Offer.objects.create(
        slug=f"bench-{number}",
        name=f"Offer {number}",
        kind="gift",
        text="A gift",
        cost_minor=COST_MINOR,
        limit_total=budget if number % 6 == 0 else None,
    )
    campaign = Campaign.objects.create(
        slug=f"bench-{number}",
        name=f"Campaign {number}",
        priority=count - number,
        needs_marketing_consent=number % 7 == 0,
        holdout_percent=5,
        stacks=number % 2 == 0,
        budget_minor=budget * COST_MINOR if number % 5 == 0 else None,
        exclusive_group="bench" if number % 4 == 0 else "",
        hours_from=time(8) if number % 3 == 0 else None,
        hours_to=time(20) if number % 3 == 0 else None,
    )
    in_segment = number % 2 == 0
    segment = rules.RULES[number % rules.INSTALLED].slug
    CampaignRule.objects.create(
        campaign=campaign,
        position=1,
        segment=Segment.objects.get(slug=segment) if in_segment else None,
        condition=_condition(number),
        offer=offer,
    )
    return campaign


def _condition(number: int) -> dict[str, Any]:
    return {
        "all": [
            {"field": "feature.orders_365d", "op": ">=", "value": number % 4},
            {"field": "score.churn", "op": ">=", "value": (number % 10) / 12},
        ]
    }
