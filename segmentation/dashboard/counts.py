"""The shop in numbers for the first page: one pass over the customers' headline columns, kept for a minute."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.db.models import Case, Count, F, IntegerField, Sum, Value, When
from django.db.models.functions import Cast, Floor

from segmentation.models import Customer

CACHE_KEY = "dashboard-counts"
CACHE_SECONDS = 60
# Twentieths, so that the bands of words.RISK_BANDS begin where a bin begins.
RISK_BINS = 20


@dataclass(frozen=True)
class Counts:
    """Customers by headline column. `risk_bins`: RISK_BINS counts by chance to stop buying, plus the unscored."""

    customers: int
    scored: int
    future_value_minor: int
    tiers: dict[str, int]
    risk_bins: list[int]
    priorities: dict[int, int]
    offers: dict[int | None, int]


def read() -> Counts:
    """At most a minute old."""
    found: Counts | None = cache.get(CACHE_KEY)
    if found is None:
        found = _count()
        cache.set(CACHE_KEY, found, CACHE_SECONDS)
    return found


def _count() -> Counts:
    """Grouping by all columns at once reads the table once; the groups are few hundred."""
    bins = Cast(Floor(F("churn_probability") * RISK_BINS), IntegerField())
    risk = Case(
        When(churn_probability__isnull=True, then=Value(-1)),
        When(churn_probability__gte=1, then=Value(RISK_BINS - 1)),
        default=bins,
        output_field=IntegerField(),
    )
    rows: Iterable[Any] = (
        Customer.objects.filter(merged_into=None)
        .order_by()
        .annotate(risk_bin=risk)
        .values("tier", "risk_bin", "priority", "current_offer")
        .annotate(customers=Count("id"), value=Sum("future_value_minor"))
    )
    return _totals(rows)


def _totals(rows: Iterable[Any]) -> Counts:
    tiers: dict[str, int] = {}
    priorities: dict[int, int] = {}
    offers: dict[int | None, int] = {}
    bins = [0] * RISK_BINS
    value = 0
    for row in rows:
        value += row["value"] or 0
        count = row["customers"]
        if row["tier"]:
            tiers[row["tier"]] = tiers.get(row["tier"], 0) + count
        if row["risk_bin"] >= 0:
            bins[row["risk_bin"]] += count
        priorities[row["priority"]] = priorities.get(row["priority"], 0) + count
        offers[row["current_offer"]] = offers.get(row["current_offer"], 0) + count
    return Counts(
        customers=sum(priorities.values()),
        scored=sum(bins),
        future_value_minor=value,
        tiers=tiers,
        risk_bins=bins,
        priorities=priorities,
        offers=offers,
    )
