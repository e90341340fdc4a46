"""What the doors know of the message broker: names, and a way out. kombu itself lives in workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils.module_loading import import_string

from crm_integration.models import Connection

if TYPE_CHECKING:
    from crm_integration.queue_door import Letter


@dataclass(frozen=True)
class Publication:
    """A message for the exchange. `must_arrive`: it counts as delivered only when a queue has taken it."""

    exchange: str
    routing_key: str
    message_id: str
    body: bytes
    headers: Mapping[str, str]
    must_arrive: bool


@dataclass(frozen=True)
class BrokerState:
    """`waiting`: messages by queue (without the installation's prefix), None where the queue is not there yet."""

    kind: str
    where: str
    is_reachable: bool
    waiting: Mapping[str, int | None] = field(default_factory=dict)
    problem: str = ""


Publisher = Callable[[Publication], None]


def is_there() -> bool:
    """The embedded broker carries the workers' nudges alone: nobody outside can reach it."""
    return not settings.CELERY_BROKER_URL.startswith("embedded")


def inbound_queue(connection: Connection) -> str:
    """The queue that a connection's messages come by."""
    return f"{settings.CELERY_QUEUE_PREFIX}tierwise.in.{connection.slug}"


def parked_queue(queue: str) -> str:
    """Where messages of a queue go that can never be taken."""
    return f"{queue}.dead"


def exchange() -> str:
    """The topic exchange that decisions are published to."""
    return f"{settings.CELERY_QUEUE_PREFIX}tierwise.decisions"


def routing_key(connection: Connection, topic: str) -> str:
    """`<topic>.<connection>`, so that a receiver can bind by either; a short name has no dots."""
    return f"{topic}.{connection.slug}"


def publish(publication: Publication) -> None:
    """Returns once the broker has confirmed it. Raises http.DeliveryError. Call it outside of any transaction."""
    publisher: Publisher = import_string(settings.MESSAGE_PUBLISHER)
    publisher(publication)


def look() -> BrokerState:
    """How the broker is now; takes about a second where it is away."""
    probe: Callable[[], BrokerState] = import_string(settings.BROKER_PROBE)
    return probe()


def sift_parked(connection: Connection, must_go: Callable[[Letter], bool]) -> int:
    """Remove what was set aside of a connection's queue and must go; returns how many letters went.

    Raises whatever the broker raises when it is away or somebody else is sifting. Call it outside of any transaction.
    """
    sifter: Callable[[str, Callable[[Letter], bool]], int] = import_string(settings.PARKED_SIFTER)
    return sifter(inbound_queue(connection), must_go)
