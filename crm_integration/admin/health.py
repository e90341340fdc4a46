"""How a connection is doing, for its page: bounded reads, no counting of whole tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from crm_integration import connections
from crm_integration.adapters import registry
from crm_integration.admin import words
from crm_integration.connections import Door
from crm_integration.models import (
    Connection,
    InboundMessage,
    OutboundMessage,
    Reconciliation,
    RefusedDelivery,
)
from segmentation.models import LeaseState

RECENT = 5
REFUSAL_DAYS = 7
COUNT_CAP = 1000
Text = str | Promise


@dataclass(frozen=True)
class SecretState:
    """`until`: when the replaced secret stops working, None when there is none."""

    door: str
    name: Text
    is_set: bool
    until: datetime | None


@dataclass(frozen=True)
class Refusals:
    why: Text
    count: int
    last_at: datetime
    header_names: list[str]


@dataclass(frozen=True)
class Health:
    address: str
    state: Text
    tone: str
    secrets: list[SecretState]
    received: list[InboundMessage]
    sent: list[OutboundMessage]
    waiting_in: str
    waiting_out: str
    refusals: list[Refusals]
    steps: tuple[Text, ...]
    topics: tuple[str, ...]
    comparison: Reconciliation | None
    can_compare: bool
    why_not_compared: Text


def state(connection: Connection) -> tuple[Text, str]:
    """(words, tone) for the badge."""
    if not connection.is_active:
        return _("Off"), "plain"
    if connection.disabled_reason and not connection.sends_outbound:
        return _("Deliveries stopped"), "bad"
    if connection.is_resting:
        return _("Resting after failures"), "warn"
    if connection.failing_since is not None:
        return _("Deliveries failing"), "warn"
    missing = (connections.uses_inbound_secret(connection) and not connection.inbound_secret) or (
        connections.needs_outbound_secret(connection) and not connection.outbound_secret
    )
    if missing:
        return _("Needs a secret"), "warn"
    return (_("Not set up yet"), "warn") if _lacks_options(connection) else (_("On"), "good")


def _lacks_options(connection: Connection) -> bool:
    kind = registry.ADAPTERS.get(connection.adapter)
    needs = kind.needs if kind is not None else ()
    return any(need.required and not connection.options.get(need.name) for need in needs)


def of(connection: Connection) -> Health:
    now = timezone.now()
    kind = registry.ADAPTERS.get(connection.adapter)
    text, tone = state(connection)
    inbound = InboundMessage.objects.filter(connection=connection).defer("body")
    outbound = OutboundMessage.objects.filter(connection=connection).defer("body")
    return Health(
        address=connections.hook_url(connection),
        state=text,
        tone=tone,
        secrets=_secrets(connection, now),
        received=list(inbound.order_by("-pk")[:RECENT]),
        sent=list(outbound.order_by("-pk")[:RECENT]),
        waiting_in=_capped(inbound.filter(state__in=[LeaseState.QUEUED, LeaseState.RUNNING])),
        waiting_out=_capped(outbound.filter(state__in=[LeaseState.QUEUED, LeaseState.RUNNING])),
        refusals=_refusals(connection, now),
        steps=kind.steps if kind is not None else (),
        topics=kind.topics if kind is not None else (),
        comparison=Reconciliation.objects.filter(connection=connection).order_by("-pk").first(),
        can_compare=kind is not None and kind.can_reconcile,
        why_not_compared=kind.why_not_compared if kind is not None else "",
    )


def _secrets(connection: Connection, now: datetime) -> list[SecretState]:
    doors = [
        (
            Door.INBOUND,
            _("Signing secret"),
            connections.uses_inbound_secret(connection),
            connection.previous_secret_until,
        ),
        (
            Door.OUTBOUND,
            _("Delivery secret"),
            connections.uses_outbound_secret(connection),
            connection.outbound_previous_until,
        ),
    ]
    return [
        SecretState(
            door.value,
            name,
            connections.has_secret(connection, door),
            until if until and until > now else None,
        )
        for door, name, used, until in doors
        if used or connections.has_secret(connection, door)
    ]


def _capped(rows: object) -> str:
    """How many, up to a cap that keeps the page quick."""
    count = len(rows.values_list("pk", flat=True)[: COUNT_CAP + 1])  # type: ignore[attr-defined]
    return str(count) if count <= COUNT_CAP else f"{COUNT_CAP}+"


def _refusals(connection: Connection, now: datetime) -> list[Refusals]:
    """Counts of the last week by reason, the most frequent first."""
    rows = RefusedDelivery.objects.filter(
        connection=connection, day__gt=now.date() - timedelta(days=REFUSAL_DAYS)
    )
    by_reason: dict[str, list[RefusedDelivery]] = {}
    for row in rows.order_by("last_at"):
        by_reason.setdefault(row.reason, []).append(row)
    found = [
        Refusals(
            words.reason(reason), sum(row.count for row in days), days[-1].last_at, days[-1].header_names
        )
        for reason, days in by_reason.items()
    ]
    return sorted(found, key=lambda refusals: -refusals.count)
