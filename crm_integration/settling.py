"""Deliveries that arrived are written down together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.db import transaction
from django.db.models import Max
from django.db.models.functions import Now

from crm_integration.attempts import Attempt
from crm_integration.models import DeliveryAttempt, OutboundMessage
from segmentation import leases


def delivered(messages: Sequence[OutboundMessage], attempts: Mapping[int, Attempt]) -> None:
    """Mark them delivered, each with its attempt. Messages whose claim was lost are another worker's."""
    if not messages:
        return
    with transaction.atomic():
        ours = leases.guarded(messages)
        newest = DeliveryAttempt.objects.filter(message__in=ours).order_by().values_list("message")
        numbers = dict(newest.annotate(newest=Max("number")))
        DeliveryAttempt.objects.bulk_create(
            [noted(message, attempts[message.pk], number=numbers.get(message.pk, 0) + 1) for message in ours]
        )
        leases.finish_together(ours, delivered_at=Now())


def noted(message: OutboundMessage, attempt: Attempt, *, number: int) -> DeliveryAttempt:
    """The row of an attempt, not stored."""
    return DeliveryAttempt(
        message=message,
        number=number,
        at=attempt.started_at,
        status_code=attempt.status,
        duration_ms=int(attempt.duration.total_seconds() * 1000),
        error=attempt.error[:300],
    )
