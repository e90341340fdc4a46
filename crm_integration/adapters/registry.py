"""The kinds of CRM this installation knows."""

from __future__ import annotations

from crm_integration.adapters.base import Adapter
from crm_integration.adapters.standard import StandardAdapter

ADAPTERS: dict[str, Adapter] = {adapter.slug: adapter for adapter in (StandardAdapter(),)}


class UnknownAdapter(LookupError):
    """A connection names a kind that this version does not have."""


def get(slug: str) -> Adapter:
    try:
        return ADAPTERS[slug]
    except KeyError:
        raise UnknownAdapter(f"no adapter is called {slug!r}; known: {', '.join(ADAPTERS)}") from None


def choices() -> list[tuple[str, str]]:
    return [(adapter.slug, str(adapter.label)) for adapter in ADAPTERS.values()]
