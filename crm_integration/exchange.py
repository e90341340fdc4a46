"""Deliveries by the message broker: the same bodies and ids as by HTTP, on a topic exchange."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.utils.translation import gettext as _

from crm_integration import broker, segment_news, signatures
from crm_integration.http import DeliveryError
from crm_integration.models import OutboundMessage


def push(message: OutboundMessage, *, secrets: Sequence[str], now: datetime) -> None:
    """Publish a message, once; returns when the broker has confirmed it. Raises http.DeliveryError.

    The broker's login says who may read and write, so a secret is optional; where one is set the message is signed.
    Who entered or left a segment is told to whoever listens. Everything else stays in the outbox until a queue is there
    to take it.
    """
    if not broker.is_there():
        raise DeliveryError(
            _("This installation has no message broker (see docs/queues.md)."), permanent=True
        )
    body = bytes(message.body)
    signed = signatures.headers(
        secrets, message_id=message.message_id, timestamp=int(now.timestamp()), body=body
    )
    broker.publish(
        broker.Publication(
            exchange=broker.exchange(),
            routing_key=broker.routing_key(message.connection, message.topic),
            message_id=message.message_id,
            body=body,
            headers=signed if secrets else {"webhook-id": message.message_id},
            must_arrive=message.topic not in segment_news.TOPICS,
        )
    )
