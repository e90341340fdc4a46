"""What choices within campaigns learn after everybody was classified: success rates, and where a budget should go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime, time
from typing import Final

import numpy as np
import polars as pl
import structlog
from django.db.models import Count, Exists, OuterRef, Q
from django.db.models.functions import TruncDate
from django.utils import timezone

from segmentation import bulk, campaigns, previews, rule_columns
from segmentation.decisions import choice
from segmentation.decisions import policy as policies
from segmentation.decisions.codes import GIVEN, Verdict
from segmentation.decisions.policy import Policy
from segmentation.decisions.verdicts import Judged
from segmentation.kinds import EventKind
from segmentation.ml import budget
from segmentation.models import Campaign, CampaignRule, Event, Grant, Shop, Usage

log = structlog.get_logger(__name__)
Choice = Campaign.Choice
LIVE: Final = (Campaign.Status.RUNNING, Campaign.Status.SCHEDULED)


@dataclass(frozen=True)
class Margin:
    """The last customer the budget reaches: their gain for the money. `ratio` None: the budget reaches everybody.

    gain_minor: expected of those reached, before the cost; at_random_minor: of the same money given to anybody who fits.
    """

    ratio: float | None
    customer_id: int | None
    reached: int
    wanted: int
    cost_minor: int
    gain_minor: int = 0
    at_random_minor: int = 0


def refresh_all() -> None:
    """After a classification, for every live campaign whose choice learns or compares."""
    for campaign in Campaign.objects.filter(status__in=LIVE).exclude(choice=Choice.ORDER):
        refresh(campaign)


def refresh(campaign: Campaign) -> None:
    if campaign.choice == Choice.SAMPLING:
        count_successes(campaign)
    elif campaign.choice == Choice.VALUE and campaign.budget_minor is not None:
        found = margin(campaign)
        Campaign.objects.filter(pk=campaign.pk).update(
            floor_ratio=found.ratio, floor_customer=found.customer_id, floor_at=timezone.now()
        )


def count_successes(campaign: Campaign) -> None:
    """An offer that is over succeeded when its customer ordered between getting it and its last day."""
    shop = Shop.get()
    first = datetime.combine(shop.today(), time(0), tzinfo=shop.zone)
    standing = Event.objects.filter(superseded_at__isnull=True)
    cancelled = standing.filter(
        customer=OuterRef("customer"), order_key=OuterRef("order_key"), kind=EventKind.ORDER_CANCELLED
    ).exclude(order_key="")
    order = standing.filter(
        ~Exists(cancelled),
        customer=OuterRef("customer"),
        kind=EventKind.ORDER_PLACED,
        occurred_at__gt=OuterRef("granted_at"),
    ).annotate(day=TruncDate("occurred_at", tzinfo=shop.zone))
    over = Grant.objects.filter(campaign=campaign).filter(
        Q(valid_until__lt=first.date()) | Q(ended_at__lt=first)
    )
    ordered = over.annotate(bought=Exists(order.filter(day__lte=OuterRef("valid_until"))))
    counted = (
        ordered.order_by().values("rule").annotate(n=Count("pk"), good=Count("pk", filter=Q(bought=True)))
    )
    for row in counted:
        CampaignRule.objects.filter(pk=row["rule"]).update(tried=row["n"], succeeded=row["good"])


def margin(campaign: Campaign) -> Margin:
    """Rank everybody whom the campaign would reach by gain for the money, and see how far what is left of the budget goes.

    Who has an offer of the campaign is paid for already and not asked. Large shops are ranked by a sample (see
    segmentation/previews.py), each customer standing for as many as it should.
    """
    running = [other for other in campaigns.in_effect(Shop.get().today()) if other.pk != campaign.pk]
    policy = beside(campaign, running)
    asked = previews.whom_to_ask()
    ranked = Ranked(policy, campaign.pk)
    for frame in previews.frames_of(asked, rule_columns.of_policy(policy)):
        judged = previews.judge_frame(frame, policy, counts=True)
        ranked.add(frame, judged, paid=_holders(campaign, frame["customer_id"].to_list()))
    weight = asked.total / max(asked.looked_at, 1)
    return ranked.margin(left(campaign), weight=weight)


def beside(campaign: Campaign, running: Sequence[Campaign]) -> Policy:
    """The campaign as it is saved among those that run, at no price yet."""
    free = copy(campaign)
    free.floor_ratio = None
    return policies.build([*running, free], [])


class Ranked:
    """Whom a campaign would give what, gathered frame by frame, for a budget to choose among."""

    def __init__(self, policy: Policy, campaign_id: int) -> None:
        self._policy = policy
        self._own = [i for i, one in enumerate(policy.candidates) if one.campaign.id == campaign_id]
        self._ids: list[np.ndarray] = []
        self._gain: list[np.ndarray] = []
        self._open: list[np.ndarray] = []

    def add(self, frame: pl.DataFrame, judged: Judged, *, paid: Collection[int] = ()) -> None:
        """Those whom one of the campaign's rules would give something, with all rules that were open to them."""
        codes = judged.codes[:, self._own]
        ids = frame["customer_id"].to_numpy()
        asks = np.isin(codes, GIVEN).any(axis=1) & ~np.isin(ids, list(paid))
        self._ids.append(ids[asks])
        self._gain.append(
            np.column_stack([choice.gains(frame, self._policy.candidates[i])[asks] for i in self._own])
        )
        self._open.append(np.isin(codes, (*GIVEN, Verdict.NOT_CHOSEN))[asks])

    def margin(self, purse: float, *, weight: float = 1.0) -> Margin:
        """weight: customers that each one stands for."""
        if not self._ids:
            return Margin(None, None, 0, 0, 0)
        gain, open_ = np.concatenate(self._gain), np.concatenate(self._open)
        prices = [float(self._policy.candidates[i].offer.cost_minor) for i in self._own]
        cost = np.tile(prices, (len(gain), 1))
        found = budget.allocate(gain, cost, purse, open_=open_, weight=weight)
        return Margin(
            ratio=found.price,
            customer_id=None if found.last == budget.NOBODY else int(np.concatenate(self._ids)[found.last]),
            reached=round(found.reached * weight),
            wanted=round(found.wanted * weight),
            cost_minor=round(found.spent),
            gain_minor=round(found.gain),
            at_random_minor=round(_at_random(gain, cost, open_, found.spent, weight)),
        )


def _at_random(gain: np.ndarray, cost: np.ndarray, open_: np.ndarray, spent: float, weight: float) -> float:
    """What the same money would bring if anybody who fits got it, each the rule that brings them most."""
    net = np.where(open_, gain - cost, -np.inf)
    best = net.argmax(axis=1) if len(net) else np.zeros(0, dtype=np.int64)
    rows = np.arange(len(net))
    worth = net[rows, best] > 0
    whole = float(cost[rows, best][worth].sum()) * weight
    reached = min(1.0, spent / whole) if whole else 0.0
    return float(gain[rows, best][worth].sum()) * weight * reached


def _holders(campaign: Campaign, ids: Sequence[int]) -> set[int]:
    open_ = Grant.objects.filter(
        campaign=campaign, ended_at__isnull=True, valid_until__gte=Shop.get().today()
    )
    return {row[0] for row in bulk.values_in(open_, ids, "customer_id")}


def left(campaign: Campaign) -> int:
    """What the budget still holds, in minor units."""
    spent = Usage.objects.filter(campaign=campaign).values_list("spent_minor", flat=True).first() or 0
    return max(0, (campaign.budget_minor or 0) - spent)
