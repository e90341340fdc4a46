"""Customers put into a segment or taken out of it by hand. It holds through every refresh, until it is forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from segmentation import bulk, segments
from segmentation.batches import batches
from segmentation.jobs import Job, enqueue
from segmentation.models import AuditEntry, Customer, ListEntry, Segment
from segmentation.normal import is_clean

# More than this is a matter for an attribute of the shop's own, which can be imported and asked about.
MOST = 100_000
SHOWN = 20


@dataclass(frozen=True)
class PutReport:
    """known: customers that were found. unknown: the first numbers that belong to nobody; missing: how many do."""

    known: int
    missing: int
    unknown: tuple[str, ...]


def create(name: str, *, slug: str, description: str = "", by: Any = None) -> Segment:
    """A segment without a rule: its members are those who are put into it."""
    with transaction.atomic():
        segment = Segment.objects.create(
            slug=slug, name=name, description=description, kind=Segment.Kind.LIST
        )
        segments.save_rule(segment, segments.list_rule(slug), by=by)
    return segment


def put(segment: Segment, customer_ids: Sequence[int], *, is_member: bool = True, by: Any = None) -> int:
    """Put customers in, or take them out, by hand; the newest word holds. Returns how many."""
    ids = sorted(set(customer_ids))
    author = by if getattr(by, "is_authenticated", False) else None
    entries = [
        ListEntry(segment=segment, customer_id=key, is_member=is_member, created_by=author) for key in ids
    ]
    with transaction.atomic():
        ListEntry.objects.bulk_create(
            entries,
            batch_size=1000,
            update_conflicts=True,
            unique_fields=["segment", "customer"],
            update_fields=["is_member", "created_by"],
        )
        _changed(segment)
        AuditEntry.record("segment.put_by_hand", segment, actor=by, customers=len(ids), is_member=is_member)
    return len(ids)


def put_text(segment: Segment, text: str, *, is_member: bool = True, by: Any = None) -> PutReport:
    """Customer numbers from a pasted list or a file: the first value of every line counts, or several by commas."""
    numbers, found = _found(text)
    missing = [number for number in numbers if number not in found]
    if found:
        put(segment, list(found.values()), is_member=is_member, by=by)
    return PutReport(len(found), len(missing), tuple(number[:40] for number in missing[:SHOWN]))


def forget_text(segment: Segment, text: str, *, by: Any = None) -> int:
    """`forget` for customer numbers."""
    return forget(segment, list(_found(text)[1].values()), by=by)


def forget(segment: Segment, customer_ids: Sequence[int], *, by: Any = None) -> int:
    """The rule alone says again whether these customers are in."""
    gone = 0
    with transaction.atomic():
        for part in batches(sorted(set(customer_ids))):
            gone += ListEntry.objects.filter(segment=segment, customer__in=part).delete()[0]
        _changed(segment)
        AuditEntry.record("segment.forgot_by_hand", segment, actor=by, customers=gone)
    return gone


def _found(text: str) -> tuple[list[str], dict[str, int]]:
    """The numbers of a text, and the customers that have them."""
    numbers = list(dict.fromkeys(_numbers(text)))[:MOST]
    if not numbers:
        return [], {}
    clean = [number for number in numbers if is_clean(number)]
    found = bulk.values_in(Customer.objects.all(), clean, "reference", "pk", by="reference")
    return numbers, dict(found)


def _changed(segment: Segment) -> None:
    """Have the members worked out again."""
    has = segment.kind == Segment.Kind.LIST or ListEntry.objects.filter(segment=segment).exists()
    Segment.objects.filter(pk=segment.pk).update(has_entries=has, refreshed_at=None)
    segment.has_entries, segment.refreshed_at = has, None
    enqueue(Job.REFRESH_SEGMENT, segment_id=segment.pk)


def _numbers(text: str) -> Iterator[str]:
    """A line of a table counts with its first column; a line of numbers with commas counts with each."""
    for line in text.replace("\ufeff", "").splitlines():
        parts = [part.strip().strip('"') for part in re.split(r"[;\t]", line)[:1]]
        yield from (number for part in parts for one in part.split(",") if (number := one.strip().strip('"')))
