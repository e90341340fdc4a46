"""What the webhook door does with a delivery once its bytes are read; a test event of ours goes the same way."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from crm_integration import connections, inbox, kept_headers
from crm_integration.adapters import registry
from crm_integration.adapters.base import Adapter, Delivery
from crm_integration.models import Connection


def take(connection: Connection, delivery: Delivery, *, now: datetime) -> inbox.Received | None:
    """Verify, then store: committed on return. None for a vendor's unsigned hello, which is answered and forgotten.

    Raises signatures.BadSignature, registry.UnknownAdapter.
    """
    adapter = registry.get(connection.adapter)
    if adapter.is_greeting(delivery):
        return None
    verify(connection, adapter, delivery, now=now)
    differs = not adapter.retries_are_identical
    return inbox.receive(connection, **message(adapter, delivery, now=now), repeats_differ=differs)


def verify(connection: Connection, adapter: Adapter, delivery: Delivery, *, now: datetime) -> None:
    """Raises signatures.BadSignature."""
    secrets = connections.valid_secrets(connection, connections.Door.INBOUND, now=now)
    adapter.verify(delivery, secrets=secrets, now=int(now.timestamp()))


def message(adapter: Adapter, delivery: Delivery, *, now: datetime) -> dict[str, Any]:
    """What the inbox stores of a delivery."""
    return {
        "dedupe_key": adapter.dedupe_key(delivery),
        "body": delivery.body,
        "received_at": now,
        "topic": adapter.topic(delivery),
        "headers": kept_headers.kept(delivery.headers),
    }
