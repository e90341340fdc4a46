"""The kinds of CRM this installation knows."""

from __future__ import annotations

from crm_integration.adapters.base import Adapter
from crm_integration.adapters.espocrm import EspoCrmAdapter
from crm_integration.adapters.hmac_generic import HmacAdapter
from crm_integration.adapters.hubspot import HubSpotAdapter
from crm_integration.adapters.mautic import MauticAdapter
from crm_integration.adapters.shopify import ShopifyAdapter
from crm_integration.adapters.standard import StandardAdapter
from crm_integration.adapters.stripe import StripeAdapter
from crm_integration.adapters.svix import SvixAdapter
from crm_integration.adapters.twilio_segment import SegmentAdapter
from crm_integration.adapters.woocommerce import WooCommerceAdapter

STANDARD = StandardAdapter.slug
KNOWN: tuple[Adapter, ...] = (
    StandardAdapter(),
    ShopifyAdapter(),
    WooCommerceAdapter(),
    HubSpotAdapter(),
    StripeAdapter(),
    MauticAdapter(),
    SegmentAdapter(),
    EspoCrmAdapter(),
    SvixAdapter(),
    HmacAdapter(),
)
ADAPTERS: dict[str, Adapter] = {adapter.slug: adapter for adapter in KNOWN}


class UnknownAdapter(LookupError):
    """A connection names a kind that this version does not have."""


def get(slug: str) -> Adapter:
    try:
        return ADAPTERS[slug]
    except KeyError:
        raise UnknownAdapter(f"no adapter is called {slug!r}; known: {', '.join(ADAPTERS)}") from None


def choices() -> list[tuple[str, str]]:
    return [(adapter.slug, str(adapter.label)) for adapter in ADAPTERS.values()]
