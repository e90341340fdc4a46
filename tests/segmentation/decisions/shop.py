"""A small shop to decide in: customers, segments, campaigns, and frames with the values a test cares about."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl

from segmentation import campaigns, memberships, segments
from segmentation.decisions import decide
from segmentation.decisions.codes import Verdict
from segmentation.models import (
    Campaign,
    CampaignRule,
    Customer,
    Decision,
    Offer,
    Segment,
    ServicePriorityRule,
)

AS_OF = date(2024, 6, 2)
TODAY = date(2024, 6, 1)
FREQUENT = {"field": "feature.orders_90d", "op": ">=", "value": 3}
LEAVING = {"field": "score.churn", "op": ">=", "value": 0.6}
SCHEMA = {
    "customer_id": pl.Int64,
    "input_version": pl.Int64,
    "feature.orders_90d": pl.Float64,
    "feature.spend_365d": pl.Float64,
    "score.churn": pl.Float64,
    "customer.country": pl.String,
    "customer.is_profiled": pl.Boolean,
    "consent.marketing": pl.String,
}
USUAL = {
    "input_version": 1,
    "feature.orders_90d": 1.0,
    "feature.spend_365d": 10.0,
    "score.churn": 0.1,
    "customer.country": "France",
    "customer.is_profiled": True,
    "consent.marketing": "granted",
}
SHORT = {
    "orders": "feature.orders_90d",
    "spend": "feature.spend_365d",
    "churn": "score.churn",
    "profiled": "customer.is_profiled",
    "consent": "consent.marketing",
    "version": "input_version",
}


def frame(*rows: dict) -> pl.DataFrame:
    """One row a customer (made when new, ids from 1), the usual values where a row says nothing."""
    people = [Customer(pk=number, reference=f"c{number}") for number in range(1, len(rows) + 1)]
    Customer.objects.bulk_create(people, ignore_conflicts=True)
    full = [
        {"customer_id": number, **USUAL, **{SHORT.get(name, name): value for name, value in row.items()}}
        for number, row in enumerate(rows, start=1)
    ]
    return pl.DataFrame(full, schema=SCHEMA)


def segment(slug: str, rule: dict) -> Segment:
    made = Segment.objects.create(slug=slug, name=slug.capitalize())
    segments.save_rule(made, rule)
    made.refresh_from_db()
    return made


def offer(slug: str, **fields) -> Offer:
    return Offer.objects.get_or_create(
        slug=slug, defaults={"name": slug.capitalize(), "kind": Offer.Kind.GIFT, "text": "x", **fields}
    )[0]


def campaign(slug: str, *rules, start: bool = True, **fields) -> Campaign:
    """A running campaign; a rule is (segment or condition, offer)."""
    made = Campaign.objects.create(
        slug=slug, name=slug.capitalize(), **{"needs_marketing_consent": False, **fields}
    )
    for position, (whom, gets) in enumerate(rules, start=1):
        by = {"segment": whom} if isinstance(whom, Segment) else {"condition": whom}
        CampaignRule.objects.create(campaign=made, position=position, offer=gets, **by)
    return campaigns.move(made, Campaign.Status.RUNNING, today=TODAY) if start else made


def priority(position: int, whom, level: int, **fields) -> ServicePriorityRule:
    by = {"segment": whom} if isinstance(whom, Segment) else {"condition": whom}
    return ServicePriorityRule.objects.create(
        position=position, name=f"Rule {position}", level=level, **by, **fields
    )


def verdicts(customer_id: int = 1) -> list[str]:
    """Of the newest decision, by name."""
    decision = Decision.objects.filter(customer_id=customer_id).latest("pk")
    return [Verdict(code).name for code in bytes(decision.verdicts)]


def run(*rows: dict, as_of: date = AS_OF, at: datetime | None = None, cause: int = Decision.Cause.BATCH):
    """Evaluate segments and decide, as scoring does; `at` is an instant of the day before `as_of`."""
    evaluated = memberships.evaluate(frame(*rows), today=TODAY)
    return list(decide(evaluated, as_of=as_of, cause=cause, at=at))
