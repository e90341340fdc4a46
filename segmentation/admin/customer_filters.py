"""Filters of the customers list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.cache import cache
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import CheckboxFilter

from segmentation.dashboard import words
from segmentation.models import Customer, CustomerIdentity, Offer, Segment

CACHE_SECONDS = 300
COUNTRIES_SHOWN = 60
NAMESPACES_ASKED = 200


class ManyFilter(CheckboxFilter):
    """Several may be ticked; any of them fits."""

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        chosen = self.value() or []
        known = {str(value) for value, _title in self.lookup_choices}
        chosen = [value for value in chosen if value in known]
        return queryset.filter(self.condition(chosen)) if chosen else queryset

    def condition(self, chosen: list[str]) -> Q:
        raise NotImplementedError


def _any(conditions: Iterable[Q]) -> Q:
    joined = Q(pk__in=[])
    for condition in conditions:
        joined |= condition
    return joined


class TierFilter(ManyFilter):
    title = _("value tier")
    parameter_name = "tier"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(slug, text) for slug, (text, _tone) in words.TIERS.items()]

    def condition(self, chosen: list[str]) -> Q:
        return Q(tier__in=chosen)


class RiskFilter(ManyFilter):
    title = _("risk")
    parameter_name = "risk"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(band.slug, band.words) for band in words.RISK_BANDS]

    def condition(self, chosen: list[str]) -> Q:
        return _any(
            Q(churn_probability__gte=band.low, churn_probability__lt=band.high)
            for band in words.RISK_BANDS
            if band.slug in chosen
        )


class SegmentFilter(ManyFilter):
    title = _("segment")
    parameter_name = "segment"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(pk), name) for pk, name in Segment.objects.values_list("pk", "name")]

    def condition(self, chosen: list[str]) -> Q:
        from segmentation.models import Membership

        return Q(pk__in=Membership.objects.filter(segment__in=[int(pk) for pk in chosen]).values("customer"))


class OfferFilter(ManyFilter):
    title = _("current offer")
    parameter_name = "offer"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("none", _("No offer")),
            *((str(pk), name) for pk, name in Offer.objects.values_list("pk", "name")),
        ]

    def condition(self, chosen: list[str]) -> Q:
        numbers = [value for value in chosen if value != "none"]
        return Q(current_offer__in=numbers) | (Q(current_offer=None) if "none" in chosen else Q(pk__in=[]))


class PriorityFilter(ManyFilter):
    title = _("service priority")
    parameter_name = "priority"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        from segmentation.models.customers import PriorityLevel

        return [(str(value), label) for value, label in reversed(PriorityLevel.choices)]

    def condition(self, chosen: list[str]) -> Q:
        return Q(priority__in=chosen)


class CountryFilter(ManyFilter):
    title = _("country")
    parameter_name = "country"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(country, country) for country in countries()]

    def condition(self, chosen: list[str]) -> Q:
        return Q(country__in=chosen)


def countries() -> list[str]:
    """Countries of customers, cached."""
    known: list[str] | None = cache.get("customer-countries")
    if known is None:
        known = _hopping(Customer.objects, "country", COUNTRIES_SHOWN)
        cache.set("customer-countries", known, CACHE_SECONDS)
    return known


def namespaces() -> list[str]:
    """Sources under whose ids customers are known: with them the index finds an id, without it is read as a whole."""
    return _hopping(CustomerIdentity.objects, "namespace", NAMESPACES_ASKED)


def _hopping(rows: Any, name: str, most: int) -> list[str]:
    """The values of a column, found by hopping through its index: one short query a value."""
    known: list[str] = []
    while len(known) < most:
        after = rows.filter(**{f"{name}__gt": known[-1] if known else ""}).order_by(name)
        found = after.values_list(name, flat=True).first()
        if found is None:
            break
        known.append(found)
    return known
