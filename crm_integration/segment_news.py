"""Who entered or left which segment, for receivers that listen at the broker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, timedelta

import orjson
from django.db.models.functions import Now

from crm_integration.models import OutboundMessage
from segmentation.models import MembershipChange
from segmentation.news import News

ENTERED_TOPIC = "segment.entered"
LEFT_TOPIC = "segment.left"
TOPICS = (ENTERED_TOPIC, LEFT_TOPIC)
# News are told in the transaction that writes the changes; the longest one is far below this. What falls into it twice
# has the same id and is staged once.
RECENT = timedelta(minutes=30)


def stage(news: Sequence[News], receivers: Sequence[int]) -> int:
    """A message to each of these connections for each recent change of these customers; how many are new.

    Call it inside the transaction that writes the changes. Without receivers nothing is read.
    """
    if not receivers:
        return 0
    changes = _recent([one.customer_id for one in news])
    known = set(
        OutboundMessage.objects.filter(
            connection__in=receivers, message_id__in=[_message_id(change) for change in changes]
        ).values_list("connection_id", "message_id")
    )
    rows = [
        OutboundMessage(
            connection_id=receiver,
            message_id=_message_id(change),
            topic=ENTERED_TOPIC if change.entered else LEFT_TOPIC,
            body=_body(change),
            customer_id=change.customer_id,
            subject_version=_version(change),
        )
        for change in changes
        for receiver in receivers
        if (receiver, _message_id(change)) not in known
    ]
    OutboundMessage.objects.bulk_create(rows, ignore_conflicts=True, batch_size=500)
    return len(rows)


def _recent(customers: Sequence[int]) -> list[MembershipChange]:
    changes = MembershipChange.objects.filter(customer__in=customers, changed_at__gt=Now() - RECENT)
    return list(changes.select_related("segment", "customer").order_by("pk"))


def _message_id(change: MembershipChange) -> str:
    return f"segment_{change.pk}"


def _version(change: MembershipChange) -> int:
    """Microseconds since 1970: of two messages about a customer and a segment the higher one holds."""
    return int(change.changed_at.timestamp() * 1_000_000)


def _body(change: MembershipChange) -> bytes:
    data = {
        "version": _version(change),
        "customer": {"reference": change.customer.reference},
        "segment": {"slug": change.segment.slug, "name": change.segment.name},
    }
    topic = ENTERED_TOPIC if change.entered else LEFT_TOPIC
    at = change.changed_at.astimezone(UTC).isoformat()
    return orjson.dumps({"type": topic, "timestamp": at, "data": data})
