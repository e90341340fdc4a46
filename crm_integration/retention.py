"""How long messages are kept: bodies 30 days, ids and attempts 90 (a sender may retry for days)."""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from crm_integration.hours import KEPT as HOURS_KEPT
from crm_integration.models import (
    DeliveryAttempt,
    DriftCheck,
    EchoCount,
    InboundHour,
    InboundMessage,
    JobRequest,
    OutboundMessage,
    Reconciliation,
    RefusedDelivery,
    StoredReply,
)
from segmentation.leases import OVER
from segmentation.retention import delete_in_batches, keys_in_batches

BODY_DAYS = 30
KEY_DAYS = 90
# How long a client may come back under its Idempotency-Key; what it sent stays known as a message (KEY_DAYS).
REPLY_DAYS = 2


def prune_messages(*, body_days: int = BODY_DAYS, key_days: int = KEY_DAYS) -> int:
    """Empty old inbound bodies, then delete old messages, attempts and refusal counts; returns rows deleted."""
    over = InboundMessage.objects.filter(state__in=OVER)
    bodies = over.filter(received_at__lt=Now() - timedelta(days=body_days), body__isnull=False)
    for keys in keys_in_batches(bodies):
        InboundMessage.objects.filter(pk__in=keys).update(body=None)
    age = Now() - timedelta(days=key_days)
    expired = (
        over.filter(received_at__lt=age),
        DeliveryAttempt.objects.filter(at__lt=age),
        OutboundMessage.objects.filter(state__in=OVER, created_at__lt=age),
        Reconciliation.objects.filter(state__in=OVER, created_at__lt=age),
        RefusedDelivery.objects.filter(last_at__lt=age),
        EchoCount.objects.filter(last_at__lt=age),
        DriftCheck.objects.filter(state__in=OVER, created_at__lt=age),
        InboundHour.objects.filter(hour__lt=Now() - HOURS_KEPT),
        JobRequest.objects.filter(told_at__lt=age),
        StoredReply.objects.filter(created_at__lt=Now() - timedelta(days=REPLY_DAYS)),
    )
    return sum(sum(delete_in_batches(rows)) for rows in expired)
