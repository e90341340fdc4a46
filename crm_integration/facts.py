"""What a CRM said becomes rows: the same way for a message and for a page of a comparison."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

from crm_integration import privacy_requests
from crm_integration.adapters.base import Adapter, Parsed
from crm_integration.models import Connection
from segmentation import identities, ingest
from segmentation.models import EventSource
from segmentation.normal import IngestReport, NormalCustomer, Rejection

RESERVED = frozenset({identities.SHOP, identities.GUEST})


def record(
    parsed: Parsed, adapter: Adapter, connection: Connection, *, received_at: datetime, cause: str
) -> tuple[IngestReport, list[Rejection]]:
    """Customers first, so that events find them. Rejections are numbered by item of the message. Needs a transaction."""
    source = source_of(connection, live_since=received_at)
    common: dict[str, Any] = {
        "source": source,
        "namespace": namespace_of(connection, adapter),
        "received_at": received_at,
        "cause": cause,
    }
    rejections = [Rejection(found.item, found.reason) for found in parsed.rejections]
    changed: frozenset[int] = frozenset()
    erased = 0
    for wave in _waves(parsed):
        told = ingest.record_customers([customer for _item, customer in wave], **common)
        changed |= told.customer_ids
        erased += told.erased
        rejections += [Rejection(wave[found.index][0], found.reason) for found in told.rejected]
    events = ingest.record_events(parsed.events, **common) if parsed.events else IngestReport()
    rejections += [Rejection(parsed.event_items[found.index], found.reason) for found in events.rejected]
    privacy_requests.take(parsed.privacy, connection=connection, namespace=common["namespace"])
    report = replace(
        events,
        customer_ids=changed | events.customer_ids,
        erased=erased + events.erased,
        rejected=(),
    )
    return report, sorted(rejections, key=lambda rejection: rejection.index)


def source_of(connection: Connection, *, live_since: datetime) -> EventSource:
    return EventSource.objects.get_or_create(slug=connection.slug, defaults={"live_since": live_since})[0]


def namespace_of(connection: Connection, adapter: Adapter) -> str:
    """Whose customer ids these are: the shop's own, or the connection's. A short name such as “shop” claims nothing."""
    if adapter.uses_shop_ids:
        return identities.SHOP
    return f"{connection.slug}-{adapter.slug}" if connection.slug in RESERVED else connection.slug


def _waves(parsed: Parsed) -> list[list[tuple[int, NormalCustomer]]]:
    """The customers in rounds that name each one once: what a message says twice about someone is told in order."""
    waves: list[list[tuple[int, NormalCustomer]]] = []
    told: Counter[str] = Counter()
    for item, customer in zip(parsed.customer_items, parsed.customers, strict=True):
        round_number = told[customer.reference]
        told[customer.reference] += 1
        if round_number == len(waves):
            waves.append([])
        waves[round_number].append((item, customer))
    return waves
