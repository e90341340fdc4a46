"""Who entered or left which segment, for receivers that listen at the broker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson
from django.db.models.functions import Now

from crm_integration.models import OutboundMessage
from segmentation.models import Membership, PastMembership
from segmentation.news import News

ENTERED_TOPIC = "segment.entered"
LEFT_TOPIC = "segment.left"
TOPICS = (ENTERED_TOPIC, LEFT_TOPIC)
# News are told in the transaction that writes the changes; the longest one is far below this. What falls into it twice
# has the same id and is staged once.
RECENT = timedelta(minutes=30)


@dataclass(frozen=True)
class Change:
    """Somebody entered or left a segment; the same change always has the same id."""

    customer_id: int
    reference: str
    segment_id: int
    slug: str
    name: str
    at: datetime
    entered: bool

    @property
    def topic(self) -> str:
        return ENTERED_TOPIC if self.entered else LEFT_TOPIC

    @property
    def version(self) -> int:
        """Microseconds since 1970: of two messages about a customer and a segment the higher one holds."""
        return int(self.at.timestamp() * 1_000_000)

    @property
    def message_id(self) -> str:
        way = "in" if self.entered else "out"
        return f"segment_{self.segment_id}_{self.customer_id}_{self.version}_{way}"

    @property
    def body(self) -> bytes:
        data = {
            "version": self.version,
            "customer": {"reference": self.reference},
            "segment": {"slug": self.slug, "name": self.name},
        }
        at = self.at.astimezone(UTC).isoformat()
        return orjson.dumps({"type": self.topic, "timestamp": at, "data": data})


def stage(news: Sequence[News], receivers: Sequence[int]) -> int:
    """A message to each of these connections for each recent change of these customers; how many are new.

    Call it inside the transaction that writes the changes. Without receivers nothing is read.
    """
    if not receivers:
        return 0
    changes = sorted(_recent([one.customer_id for one in news]), key=lambda change: change.at)
    known = set(
        OutboundMessage.objects.filter(
            connection__in=receivers, message_id__in=[change.message_id for change in changes]
        ).values_list("connection_id", "message_id")
    )
    rows = [
        OutboundMessage(
            connection_id=receiver,
            message_id=change.message_id,
            topic=change.topic,
            body=change.body,
            customer_id=change.customer_id,
            subject_version=change.version,
        )
        for change in changes
        for receiver in receivers
        if (receiver, change.message_id) not in known
    ]
    OutboundMessage.objects.bulk_create(rows, ignore_conflicts=True, batch_size=500)
    return len(rows)


def _recent(customers: Sequence[int]) -> Iterator[Change]:
    since = Now() - RECENT
    named = ("customer_id", "customer__reference", "segment_id", "segment__slug", "segment__name")
    entered = Membership.objects.filter(customer__in=customers, entered_at__gt=since)
    left = PastMembership.objects.filter(customer__in=customers, left_at__gt=since)
    for who, reference, segment, slug, name, at in entered.values_list(*named, "entered_at"):
        yield Change(who, reference, segment, slug, name, at, entered=True)
    for who, reference, segment, slug, name, at in left.values_list(*named, "left_at"):
        yield Change(who, reference, segment, slug, name, at, entered=False)
