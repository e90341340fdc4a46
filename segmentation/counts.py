"""The shop in numbers: one pass over the customers' headline columns, for the first page and a run's summary.

A small shop is counted when somebody looks. Where that takes long, workers count now and then and pages read the row
they keep, so that no page reads every customer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import Any

from django.core.cache import cache
from django.db.models import Case, Count, F, IntegerField, Sum, Value, When
from django.db.models.functions import Cast, Floor, Now

from segmentation.models import Customer, CustomerCounts

CACHE_KEY = "dashboard-counts"
CACHE_SECONDS = 60
# Whoever waits for a page may wait this long for the counting.
QUICK_SECONDS = 0.1
# Workers spend at most this share of their time on counting.
SHARE = 0.01
# A shop that was quick to count is looked at this often, in case it has grown.
GROWS_IN = timedelta(minutes=10)
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

    def as_json(self) -> dict[str, Any]:
        """Keys of JSON are texts, so numbers are keys of pairs."""
        plain = {name: getattr(self, name) for name in ("customers", "scored", "future_value_minor", "tiers")}
        return {
            **plain,
            "risk_bins": self.risk_bins,
            "priorities": list(self.priorities.items()),
            "offers": list(self.offers.items()),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Counts:
        pairs = {name: dict(content[name]) for name in ("priorities", "offers")}
        return cls(**{**content, **pairs})


def read() -> Counts:
    """A minute old at most; in a shop that is slow to count, as old as the workers' last count."""
    row = CustomerCounts.objects.filter(seconds__gt=QUICK_SECONDS).first()
    if row is not None:
        return Counts.from_json(row.content)
    found: Counts | None = cache.get(CACHE_KEY)
    if found is None:
        found = _count()
        cache.set(CACHE_KEY, found, CACHE_SECONDS)
    return found


def store() -> Counts:
    """Count now and keep it for the pages."""
    started = perf_counter()
    found = _count()
    seconds = perf_counter() - started
    CustomerCounts.objects.update_or_create(
        pk=1, defaults={"content": found.as_json(), "seconds": seconds, "counted_at": Now()}
    )
    return found


def store_if_due() -> None:
    """For the sweeps: count again where pages rely on it and the last count is old for what it took."""
    row = CustomerCounts.objects.first()
    if row is None or not CustomerCounts.objects.filter(counted_at__gt=Now() - _rest(row.seconds)).exists():
        store()


def _rest(seconds: float) -> timedelta:
    """How long after a count that took so many seconds the next one is due."""
    if seconds <= QUICK_SECONDS:
        return GROWS_IN
    return timedelta(seconds=max(CACHE_SECONDS, seconds / SHARE))


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
