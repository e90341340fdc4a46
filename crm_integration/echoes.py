"""Our own writes come back as messages: they are recognised, counted, and start no scoring.

What decides is whether a message tells anything beyond our own change, not who says to have made it:

- A message that names only fields of ours is dropped before anything is fetched: we never read them.
- A record that says the same as it said before our write (its fingerprint: everything we read of it, without the times
  that every change moves) is dropped. Where it was not seen before, answers about consent that only bear the time of the
  change are not taken for new answers.

So a real change that arrives together with an echo is never lost, and a field of ours that somebody edited there changes
nothing here: the next reading back (drift.py) shows it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F
from django.utils import timezone

from crm_integration.adapters.base import Parsed, Shown, Thin
from crm_integration.adapters.pushing import Values
from crm_integration.models import Connection, EchoCount, PushedRecord
from segmentation import consents
from segmentation.normal import NormalCustomer, NormalEvent

# Vendors deliver late: Shopify says up to a day, HubSpot tries for one.
WINDOW = timedelta(days=2)


@dataclass(frozen=True)
class Sifted:
    """`rest` is what remains to be recorded; `echoes` counts the customers whose message was our own change alone."""

    rest: Parsed
    echoes: int = 0


def is_watched(connection: Connection) -> bool:
    return connection.outbound_via == Connection.Via.VENDOR


def without_own_changes(parsed: Parsed, connection: Connection) -> Sifted:
    """Before anything is fetched: leave out records of which only our own fields changed. Reads, writes nothing."""
    named = [thin for thin in parsed.thin if thin.changed is not None]
    if not (named and is_watched(connection)):
        return Sifted(parsed)
    records = _written(connection, {thin.key for thin in named})
    ours = [thin for thin in named if (record := records.get(thin.key)) and _names_ours_alone(thin, record)]
    rest = replace(parsed, thin=tuple(thin for thin in parsed.thin if thin not in ours))
    return Sifted(rest, sum(_holds(records[thin.key], thin.changed or {}) for thin in ours))


def _names_ours_alone(thin: Thin, record: PushedRecord) -> bool:
    """Nothing of what we read has changed, whoever wrote to these fields."""
    return bool(thin.changed) and set(thin.changed or ()) <= _our_names(record)


def _our_names(record: PushedRecord) -> set[str]:
    return {*Values.of(record.values).fields, *Values.of(record.attempted).fields}


def _holds(record: PushedRecord, shown: Mapping[str, str]) -> bool:
    """Whether all of these are fields of ours with a value that we wrote."""
    may_hold = [
        Values.of(stored).fields for stored in (record.values, record.attempted) if stored is not None
    ]
    return all(any(fields.get(name) == value for fields in may_hold) for name, value in shown.items())


def sift(parsed: Parsed, connection: Connection, *, now: datetime) -> Sifted:
    """Leave out customers about whom the message says nothing but our own change, and remember what it said.

    Call it in the transaction that records the rest.
    """
    if not is_watched(connection):
        return Sifted(parsed)
    own = [shown for shown in parsed.shown if shown.is_own]
    if own and not (parsed.customers or parsed.events):
        return Sifted(parsed, len(own))
    told = {customer.reference for customer in parsed.customers}
    records = _records(connection, told | {shown.reference for shown in parsed.shown})
    if not records:
        return Sifted(parsed)
    written = {reference: record for reference, record in records.items() if _is_recent(record)}
    echoes, seen = set(), {}
    for reference, record in records.items():
        fingerprint = _fingerprint(parsed, reference)
        if fingerprint and fingerprint != record.seen_sha256:
            # Also long after a write: who goes back to what was seen before it would else look like an echo.
            seen[record.pk] = fingerprint
        elif fingerprint and reference in written:
            echoes.add(reference)
    echoes |= {shown.reference for shown in own if shown.reference in written}
    _remember(seen, [records[reference] for reference in echoes])
    return Sifted(_without(parsed, echoes, written), len(echoes))


def forget(references: Iterable[str], connection: Connection) -> None:
    """What a message said of these customers was not taken in whole: told again, it is no echo."""
    if is_watched(connection):
        rows = PushedRecord.objects.filter(connection=connection, reference__in=sorted(set(references)))
        rows.exclude(seen_sha256="").update(seen_sha256="")


def were_own(parsed: Parsed, connection: Connection) -> int:
    """Of a message that told nothing new: about how many customers it shows what we wrote, or comes right after it."""
    if not is_watched(connection):
        return 0
    people = {customer.reference for customer in parsed.customers}
    records = _written(connection, people)
    shown = {entry.reference: entry for entry in parsed.shown}
    return sum(_may_be_ours(record, shown.get(reference)) for reference, record in records.items())


def _may_be_ours(record: PushedRecord, shown: Shown | None) -> bool:
    """A message that shows our fields must show what we wrote; one that shows none of them is judged by its time."""
    if shown is None:
        return True
    names = _our_names(record)
    return _holds(record, {name: value for name, value in shown.fields.items() if name in names})


def count(connection: Connection, echoes: int, *, now: datetime) -> None:
    """Count messages of ours by day."""
    if not echoes:
        return
    day = now.date()
    EchoCount.objects.get_or_create(connection=connection, day=day)
    EchoCount.objects.filter(connection=connection, day=day).update(count=F("count") + echoes, last_at=now)


def _written(connection: Connection, references: Iterable[str]) -> dict[str, PushedRecord]:
    """The records among these that we wrote to lately, by the id there."""
    found = _records(connection, references)
    return {reference: record for reference, record in found.items() if _is_recent(record)}


def _records(connection: Connection, references: Iterable[str]) -> dict[str, PushedRecord]:
    """The records among these that we ever wrote to, by the id there."""
    found = PushedRecord.objects.filter(connection=connection, reference__in=sorted(set(references)))
    return {record.reference: record for record in found}


def _is_recent(record: PushedRecord) -> bool:
    return record.written_at is not None and record.written_at > timezone.now() - WINDOW


def _remember(seen: Mapping[int, str], echoed: Sequence[PushedRecord]) -> None:
    for key, fingerprint in seen.items():
        PushedRecord.objects.filter(pk=key).update(seen_sha256=fingerprint)
    if echoed:
        PushedRecord.objects.filter(pk__in=[record.pk for record in echoed]).update(echoes=F("echoes") + 1)


def _fingerprint(parsed: Parsed, reference: str) -> str:
    """Of everything that is read about a customer, without what every change moves; empty where nothing is."""
    people = [_timeless(customer) for customer in parsed.customers if customer.reference == reference]
    if not people:
        return ""
    facts = [replace(event, source_version=0) for event in parsed.events if event.customer == reference]
    return hashlib.sha256(repr((people, sorted(map(repr, facts)))).encode()).hexdigest()


def _timeless(customer: NormalCustomer) -> Any:
    """The times of answers that are only the time of the change say nothing."""
    answers = sorted(
        (answer.purpose, answer.status, "" if answer.decided_at == customer.updated_at else answer.decided_at)
        for answer in customer.consents
    )
    return (
        repr(replace(customer, updated_at=None, consents=(), attributes={})),
        answers,
        sorted((name, repr(value)) for name, value in customer.attributes.items()),
    )


def _without(parsed: Parsed, echoes: set[str], records: Mapping[str, PushedRecord]) -> Parsed:
    """The message without these customers, and without answers that others only repeat."""
    known = _answers([record.customer_id for reference, record in records.items() if reference not in echoes])
    customers, customer_items = [], []
    for customer, item in zip(parsed.customers, parsed.customer_items, strict=True):
        if customer.reference in echoes:
            continue
        record = records.get(customer.reference)
        customers.append(_unrepeated(customer, record, known) if record is not None else customer)
        customer_items.append(item)
    events: list[NormalEvent] = []
    event_items = []
    for event, item in zip(parsed.events, parsed.event_items, strict=True):
        if event.customer not in echoes:
            events.append(event)
            event_items.append(item)
    return replace(
        parsed,
        customers=tuple(customers),
        customer_items=tuple(customer_items),
        events=tuple(events),
        event_items=tuple(event_items),
    )


def _answers(customers: Sequence[int]) -> consents.Answers:
    return consents.current(customers) if customers else {}


def _unrepeated(
    customer: NormalCustomer, record: PushedRecord, known: Mapping[tuple[int, str], str]
) -> NormalCustomer:
    kept = tuple(
        answer
        for answer in customer.consents
        if answer.decided_at != customer.updated_at
        or known.get((record.customer_id, answer.purpose)) != answer.status
    )
    return replace(customer, consents=kept)
