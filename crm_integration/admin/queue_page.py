"""What a connection's page says of the message broker: names to copy, and how the queue is doing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from crm_integration import broker
from crm_integration.models import Connection, QueueStatus

# The consumer looks every few seconds; silence for so long means that none runs.
SILENT = timedelta(minutes=1)


@dataclass(frozen=True)
class QueuePage:
    """`has_broker` False: none of the rest means anything. `status` is None while no consumer ever looked."""

    has_broker: bool
    name: str
    parked_name: str
    exchange: str
    binding: str
    status: QueueStatus | None
    is_silent: bool


def of(connection: Connection) -> QueuePage:
    status = QueueStatus.objects.filter(connection=connection).first() if connection.reads_queue else None
    name = broker.inbound_queue(connection)
    return QueuePage(
        has_broker=broker.is_there(),
        name=name,
        parked_name=broker.parked_queue(name),
        exchange=broker.exchange(),
        binding=broker.routing_key(connection, "*.*"),
        status=status,
        is_silent=status is None or status.seen_at < timezone.now() - SILENT,
    )
