"""What a CRM said becomes rows: the same way for a message and for a page of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from crm_integration import echoes, merges, privacy_requests
from crm_integration.adapters.base import Adapter, Parsed
from crm_integration.models import Connection, PushedRecord
from segmentation import identities, ingest
from segmentation.locks import lock_customers
from segmentation.models import EventSource
from segmentation.normal import IngestReport, Rejection


@dataclass(frozen=True)
class Recorded:
    """`rejections` are numbered by item of the message. `echoes`: how many customers' part was our own change alone."""

    report: IngestReport
    rejections: list[Rejection]
    echoes: int = 0


RESERVED = frozenset({identities.SHOP, identities.GUEST})


def record(
    parsed: Parsed, adapter: Adapter, connection: Connection, *, received_at: datetime, cause: str
) -> Recorded:
    """Customers first, so that events find them, then merges. Our own changes are left out. Needs a transaction."""
    sifted = echoes.sift(parsed, connection, now=received_at)
    parsed = sifted.rest
    namespace = namespace_of(connection, adapter)
    stored = _store([(parsed, received_at)], connection, namespace=namespace, cause=cause)[0]
    told_merges = zip(parsed.merged_items, parsed.merged, strict=True)
    joined, unmerged = merges.follow(told_merges, namespace=namespace)
    rejections = _in_order([*stored.rejections, *unmerged])
    if rejections:
        echoes.forget((customer.reference for customer in parsed.customers), connection)
    _note_living(parsed, connection)
    privacy_requests.take(parsed.privacy, connection=connection, namespace=namespace)
    report = replace(stored.report, customer_ids=stored.report.customer_ids | joined)
    return Recorded(report, rejections, sifted.echoes + (_own_again(parsed, report, connection)))


def record_together(
    told: Sequence[tuple[Parsed, datetime]], adapter: Adapter, connection: Connection, *, cause: str
) -> list[Recorded]:
    """As `record` for messages with nothing but profiles and events of a connection that is not written to, together.

    told: what each says, and when it came in, in their order. Needs a transaction.
    """
    namespace = namespace_of(connection, adapter)
    _hold({name for parsed, _at in told for name in _references(parsed)}, namespace)
    return _store(told, connection, namespace=namespace, cause=cause)


def _hold(references: set[str], namespace: str) -> None:
    """All at once: who is held for a profile and then waits for the events of another would lock up with a neighbour."""
    lock_customers(identities.find_many(namespace, references).values())


def _references(parsed: Parsed) -> set[str]:
    people = {customer.reference for customer in parsed.customers}
    return people | {event.customer for event in parsed.events if event.customer}


def _store(
    told: Sequence[tuple[Parsed, datetime]], connection: Connection, *, namespace: str, cause: str
) -> list[Recorded]:
    """Customers first, so that events find them."""
    source = source_of(connection, live_since=told[0][1])
    common: dict[str, Any] = {"source": source, "namespace": namespace, "cause": cause}
    people = ingest.record_profiles([ingest.Profiles(parsed.customers, at) for parsed, at in told], **common)
    events = ingest.record_messages([ingest.Told(parsed.events, at) for parsed, at in told], **common)
    return [
        Recorded(
            replace(
                happened,
                customer_ids=known.customer_ids | happened.customer_ids,
                erased=known.erased + happened.erased,
                rejected=(),
            ),
            _rejections(parsed, known, happened),
        )
        for (parsed, _at), known, happened in zip(told, people, events, strict=True)
    ]


def _rejections(parsed: Parsed, people: IngestReport, events: IngestReport) -> list[Rejection]:
    """Of a message's items, in their order."""
    unread = [Rejection(found.item, found.reason) for found in parsed.rejections]
    unknown = [Rejection(parsed.customer_items[found.index], found.reason) for found in people.rejected]
    unstored = [Rejection(parsed.event_items[found.index], found.reason) for found in events.rejected]
    return _in_order([*unread, *unknown, *unstored])


def _in_order(rejections: Sequence[Rejection]) -> list[Rejection]:
    return sorted(rejections, key=lambda rejection: rejection.index)


def _own_again(parsed: Parsed, report: IngestReport, connection: Connection) -> int:
    """Customers of a message that turned out to tell nothing new, right after we wrote to them."""
    is_news = report.created or report.customer_ids or report.erased or parsed.privacy
    return 0 if is_news or parsed.rejections else echoes.were_own(parsed, connection)


def _note_living(parsed: Parsed, connection: Connection) -> None:
    """A record that was gone and is told about again has come back: what it held of ours is not known."""
    if not echoes.is_watched(connection):
        return
    told = {customer.reference for customer in parsed.customers}
    back = PushedRecord.objects.filter(connection=connection, reference__in=told, gone_at__isnull=False)
    back.update(gone_at=None, values={}, attempted=None)


def source_of(connection: Connection, *, live_since: datetime) -> EventSource:
    return EventSource.objects.get_or_create(slug=connection.slug, defaults={"live_since": live_since})[0]


def namespace_of(connection: Connection, adapter: Adapter) -> str:
    """Whose customer ids these are: the shop's own, or the connection's. A short name such as “shop” claims nothing."""
    if adapter.uses_shop_ids:
        return identities.SHOP
    return f"{connection.slug}-{adapter.slug}" if connection.slug in RESERVED else connection.slug
