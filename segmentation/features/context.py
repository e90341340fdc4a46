"""ShopContext: the shop-wide numbers of a date, fitted once and stored."""

from __future__ import annotations

from datetime import date, timedelta

from django.db.models import Max

from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.features.context_data import AttributeKind, ContextData
from segmentation.features.days import midnight
from segmentation.features.fitting import OrderSums, fit, fit_sums, summarise
from segmentation.features.orders import ORDER_KINDS
from segmentation.features.selection import sampled_chunks
from segmentation.features.store import read_events
from segmentation.models import AttributeDefinition, Event, Shop, ShopContext
from segmentation.stages import stage

__all__ = ["ContextData", "fit", "fit_for", "for_date", "load"]

Kind = AttributeDefinition.Kind
CHUNK = 20_000
# More customers than this move no number of the shop by a percent, and every classification would wait for them.
MOST_CUSTOMERS, SALT = 100_000, 104
FEATURE_KINDS: dict[str, AttributeKind] = {
    Kind.NUMBER: "number",
    Kind.BOOLEAN: "boolean",
    Kind.CHOICE: "choice",
}


def for_date(as_of: date, shop: Shop, *, fresh: bool = False, max_age_days: int = 0) -> ShopContext:
    """The stored context of `as_of`, else a new one, fitted on events before it and saved.

    fresh: fit anew when events from before `as_of` came in since (an import of older history), or when the shop's
    settings changed. max_age_days: a context that many days older will do.
    """
    found = (
        ShopContext.objects.filter(
            catalogue_version=CATALOGUE_VERSION,
            as_of__range=(as_of - timedelta(days=max_age_days), as_of),
        )
        .order_by("-as_of", "-pk")
        .first()
    )
    if found is not None and not (fresh and _is_stale(found, shop)):
        return found
    data = fit_for(as_of, shop)
    return ShopContext.objects.create(as_of=as_of, catalogue_version=CATALOGUE_VERSION, data=data.to_json())


@stage("context")
def load(row: ShopContext) -> ContextData:
    return ContextData.from_json(row.data)


def fit_for(as_of: date, shop: Shop) -> ContextData:
    """Fit on the orders in the database, a chunk of customers at a time; of a large shop on a sample of them."""
    newest = _newest_event_id()
    sums = OrderSums.concat(
        summarise(
            read_events(chunk, as_of=as_of, shop=shop, kinds=ORDER_KINDS),
            as_of=as_of,
            zone=shop.zone,
        )
        for chunk in sampled_chunks(CHUNK, most=MOST_CUSTOMERS, salt=SALT)
    )
    return fit_sums(
        sums,
        as_of=as_of,
        zone=shop.zone,
        minor_per_major=shop.minor_per_major,
        last_event_id=newest,
        attributes=attribute_features(),
    )


def attribute_features() -> tuple[tuple[str, AttributeKind], ...]:
    """The shop's own columns to learn from: (slug, kind) by slug. Texts and dates are for rules only."""
    rows = AttributeDefinition.objects.filter(is_feature=True, kind__in=FEATURE_KINDS).order_by("slug")
    return tuple((slug, FEATURE_KINDS[kind]) for slug, kind in rows.values_list("slug", "kind"))


def _is_stale(row: ShopContext, shop: Shop) -> bool:
    data = load(row)
    settings = (shop.time_zone, shop.minor_per_major, attribute_features())
    if settings != (data.time_zone, data.minor_per_major, data.attributes):
        return True
    instant = midnight(data.as_of, shop.zone)
    return Event.objects.filter(pk__gt=data.last_event_id, occurred_at__lt=instant).exists()


def _newest_event_id() -> int:
    return Event.objects.aggregate(newest=Max("pk"))["newest"] or 0
