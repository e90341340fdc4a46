"""Events as rows: stored once, a newer version of a fact supersedes the older."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.db import IntegrityError, transaction

from segmentation import redemptions
from segmentation.batches import batches
from segmentation.jobs import Job, enqueue_due
from segmentation.locks import lock_customers
from segmentation.models import Event, EventCode, EventItem, EventSource, EventText

Fact = tuple[str, int]  # source key, kind


@dataclass(frozen=True)
class Line:
    product_id: int
    quantity: int
    amount_minor: int


@dataclass(frozen=True)
class Code:
    """A discount code of an order; what it took off, where the source says."""

    code: str
    discount_minor: int | None = None


@dataclass(frozen=True)
class Draft:
    """An event to be stored. message: the place of the message that told it, among those stored together."""

    event: Event
    items: tuple[Line, ...] = ()
    sealed_text: bytes = b""
    codes: tuple[Code, ...] = ()
    message: int = 0

    @property
    def fact(self) -> Fact:
        return (self.event.source_key, int(self.event.kind))


@dataclass
class Stored:
    """What came of one message's events; `customer_ids`: whose inputs it changed."""

    created: int = 0
    repeated: int = 0
    customer_ids: set[int] = field(default_factory=set)


def add(drafts: Sequence[Draft], *, source: EventSource) -> defaultdict[int, Stored]:
    """Store drafts that are not stored yet; what came of them by message. Needs a transaction.

    A version older than a stored one is kept as already superseded; a newer one supersedes what is there.
    """
    # Two workers with the same fact meet at its customer's row, so what follows sees what the other stored.
    lock_customers(draft.event.customer_id for draft in drafts)
    known = _known(source, {draft.fact for draft in drafts})
    stored: defaultdict[int, Stored] = defaultdict(Stored)
    fresh: list[Draft] = []
    for draft in sorted(drafts, key=lambda draft: draft.event.source_version):
        rows = known.setdefault(draft.fact, [])
        if any(row.source_version == draft.event.source_version for row in rows):
            stored[draft.message].repeated += 1
            continue
        stored[draft.message].customer_ids |= _supersede(draft.event, rows)
        rows.append(draft.event)
        fresh.append(draft)
    inserted = {id(draft) for draft in _insert(fresh)}
    for draft in fresh:
        of_message = stored[draft.message]
        if id(draft) in inserted:
            of_message.created += 1
            of_message.customer_ids.add(draft.event.customer_id)
        else:
            of_message.repeated += 1
    redemptions.record([draft.event.pk for draft in fresh if draft.codes and id(draft) in inserted])
    return stored


def _supersede(event: Event, rows: Iterable[Event]) -> set[int]:
    """Mark whichever is older as replaced; returns the customers who lose a row."""
    older = [row for row in rows if row.source_version < event.source_version and row.superseded_at is None]
    if any(row.source_version > event.source_version for row in rows):
        event.superseded_at = event.received_at
    for row in older:
        row.superseded_at = event.received_at
    if stored := [row.pk for row in older if row.pk]:
        Event.objects.filter(pk__in=stored).update(superseded_at=event.received_at)
        redemptions.forget(stored)
    return {row.customer_id for row in older}


def _insert(drafts: Sequence[Draft]) -> list[Draft]:
    try:
        with transaction.atomic():
            _insert_all(drafts)
    except IntegrityError:
        # The same fact came in under two customers at once: the first one stored stays.
        return [draft for draft in drafts if _insert_one(draft)]
    return list(drafts)


def _insert_one(draft: Draft) -> bool:
    draft.event.pk = None
    try:
        with transaction.atomic():
            _insert_all([draft])
    except IntegrityError:
        return False
    return True


def _insert_all(drafts: Sequence[Draft]) -> None:
    Event.objects.bulk_create([draft.event for draft in drafts], batch_size=500)
    EventItem.objects.bulk_create(
        [
            EventItem(
                event_id=draft.event.pk,
                product_id=line.product_id,
                quantity=line.quantity,
                amount_minor=line.amount_minor,
            )
            for draft in drafts
            for line in draft.items
        ],
        batch_size=500,
    )
    EventCode.objects.bulk_create(
        [
            EventCode(event_id=draft.event.pk, code=code.code, discount_minor=code.discount_minor)
            for draft in drafts
            for code in draft.codes
        ],
        batch_size=500,
    )
    EventText.objects.bulk_create(
        [
            EventText(event_id=draft.event.pk, sealed=draft.sealed_text)
            for draft in drafts
            if draft.sealed_text
        ],
        batch_size=500,
    )
    if any(draft.sealed_text for draft in drafts):
        enqueue_due(Job.READ_TEXTS)


def _known(source: EventSource, facts: set[Fact]) -> dict[Fact, list[Event]]:
    known: dict[Fact, list[Event]] = {}
    for part in batches(sorted({key for key, _kind in facts})):
        rows = Event.objects.filter(source=source, source_key__in=part)
        for row in rows.only("source_key", "kind", "source_version", "superseded_at", "customer_id"):
            known.setdefault((row.source_key, row.kind), []).append(row)
    return known
