"""A campaign with a holdout, decisions as they are stored, and orders before and after them."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta

from segmentation.decisions.codes import Verdict
from segmentation.kinds import EventKind
from segmentation.models import (
    Campaign,
    CampaignRule,
    Customer,
    Decision,
    Event,
    EventSource,
    InputSnapshot,
    Offer,
    PolicyVersion,
    Segment,
    Shop,
)
from segmentation.results import measuring

TODAY = date(2026, 6, 30)
AS_OF = TODAY + timedelta(days=1)
SINCE = datetime(2026, 4, 1, 9, tzinfo=UTC)
_numbers = itertools.count(1)


def shop() -> Shop:
    row = Shop.get()
    row.base_currency, row.time_zone = "GBP", "UTC"
    row.save()
    return row


def campaign(
    *, margin_minor: int = 0, cost_minor: int = 0, status="running", slug="spring", **offer
) -> Campaign:
    gives = Offer.objects.create(
        slug=f"o{next(_numbers)}",
        name="Spring gift",
        kind=Offer.Kind.GIFT,
        text="x",
        cost_minor=cost_minor,
        valid_days=30,
        **offer,
    )
    made = Campaign.objects.create(slug=slug, name=slug.capitalize(), status=status, holdout_percent=20)
    whom, _ = Segment.objects.get_or_create(slug="all", defaults={"name": "All"})
    CampaignRule.objects.create(
        campaign=made, position=1, segment=whom, offer=gives, margin_minor=margin_minor
    )
    return made


def policy(*campaigns: Campaign, before: int = 0, percent: float = 20) -> PolicyVersion:
    """A stored policy of these campaigns; `before`: so many rules of another campaign come first."""
    other = {"id": 0, "holdout": None, "rules": [{"id": -n, "offer": {"id": 0}} for n in range(before)]}
    told = [
        {
            "id": made.pk,
            "holdout": {"salt": "s", "percent": percent},
            "rules": [
                {"id": rule.pk, "offer": {"id": rule.offer_id, "cost_minor": rule.offer.cost_minor}}
                for rule in made.rules.all()
            ],
        }
        for made in campaigns
    ]
    content = {"campaigns": [other, *told], "priority_rules": []}
    return PolicyVersion.objects.create(sha256=f"{next(_numbers):064d}", content=content)


def decided(
    customer: Customer, under: PolicyVersion, *codes: Verdict, at: datetime = SINCE, gives=None
) -> Decision:
    width = sum(len(one["rules"]) for one in under.content["campaigns"])
    padded = [Verdict.RULE_FALSE] * (width - len(codes)) + list(codes)
    snapshot = InputSnapshot.objects.create(
        customer=customer, input_version=next(_numbers), policy=under, as_of=at.date(), content=b"{}"
    )
    row = Decision.objects.create(
        customer=customer,
        input_version=snapshot.input_version,
        policy=under,
        snapshot=snapshot,
        as_of=at.date() + timedelta(days=1),
        cause=Decision.Cause.BATCH,
        verdicts=bytes(padded),
        campaign=gives,
        offer=None if gives is None else gives.rules.first().offer,
    )
    Decision.objects.filter(pk=row.pk).update(decided_at=at)
    return row


def customer(**fields) -> Customer:
    return Customer.objects.create(reference=f"r{next(_numbers)}", **fields)


def order(of: Customer, *, days: float, amount_minor: int = 2000, **fields) -> Event:
    """So many days after SINCE (before it: negative)."""
    source, _ = EventSource.objects.get_or_create(slug="shop")
    at = SINCE + timedelta(days=days)
    return Event.objects.create(
        customer=of,
        kind=EventKind.ORDER_PLACED,
        occurred_at=at,
        received_at=at,
        source=source,
        source_key=f"e{next(_numbers)}",
        amount_minor=amount_minor,
        quantity=1,
        line_count=1,
        **fields,
    )


def measured(made: Campaign, *, window_days: int = 30, as_of: date = AS_OF) -> dict:
    return measuring.measure(made, window_days=window_days, as_of=as_of)[1]
