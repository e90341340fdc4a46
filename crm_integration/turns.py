"""Whose turn it is at a connection: two workers never write to one CRM at once, nor about one customer anywhere."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from crm_integration import pushing
from crm_integration.models import Connection, OutboundMessage
from segmentation import leases, locks, presence
from segmentation.models import LeaseState

# What counts as a slow connection: one worker that waits for its answers is enough.
SLOW = timedelta(seconds=1)


def claim(connection: Connection, *, max_attempts: int, message: int | None = None) -> list[OutboundMessage]:
    """What to send next to a connection (as much as one attempt takes, or this message), claimed for this process.

    Empty when nothing is due or the connection is taken: whoever has it looks again afterwards. Claims on one
    connection are made one after the other, so that two workers never both find it free. What a killed worker
    leaves keeps its customers waiting until its claim runs out, for its last request may still be on the way;
    everybody else's messages go on.
    """
    rows = OutboundMessage.objects.filter(connection=connection)
    if message is not None:
        rows = rows.filter(pk=message)
    if not leases.claimable(rows).exists():
        return []
    process = presence.mine()
    with transaction.atomic(), locks.turn(f"deliver-{connection.pk}"):
        if is_taken(connection):
            return []
        claimed = _left_behind(rows, max_attempts=max_attempts, process=process) or leases.claim(
            rows.filter(state=LeaseState.QUEUED).exclude(_is_being_told()),
            limit=pushing.batch_of(connection),
            max_attempts=max_attempts,
            process=process,
        )
    for one in claimed:
        one.connection = connection
    return claimed


def _left_behind(
    rows: QuerySet[OutboundMessage], *, max_attempts: int, process: int | None
) -> list[OutboundMessage]:
    """One that a worker was killed with, alone: if it is what kills them, it costs the others no attempt."""
    left = rows.filter(state=LeaseState.RUNNING).exclude(_is_being_told())
    return leases.claim(left, max_attempts=max_attempts, process=process)


def is_taken(connection: Connection) -> bool:
    """Whether a worker that lives writes to the records of this CRM, or waits for the answer of a slow receiver."""
    held = _held().filter(connection=connection)
    if not pushing.is_written_to(connection):
        held = held.filter(started_at__lt=Now() - SLOW)
    return presence.is_any_alive(set(held.values_list("process", flat=True)))


def _held() -> QuerySet[OutboundMessage]:
    return OutboundMessage.objects.filter(state=LeaseState.RUNNING, lease_until__gte=Now())


def _is_being_told() -> Exists:
    """Whether another message about the same customer is on its way to the same connection."""
    return Exists(_held().filter(connection=OuterRef("connection"), customer=OuterRef("customer")))
