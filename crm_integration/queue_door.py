"""The message-queue door: what a queue holds ends in the same `inbox.receive` as a webhook. Knows no broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from crm_integration import cloud_events, connections, inbox, refusals, signatures
from crm_integration.adapters.reading import BadField, load_object
from crm_integration.adapters.standard import StandardAdapter
from crm_integration.connections import Door
from crm_integration.models import Connection, QueueStatus
from crm_integration.signatures import BadSignature, Reason

log = structlog.get_logger(__name__)

# A broker holds messages while nobody reads, so a signature may be old. Ids are known for 90 days: what is younger
# than this and comes again is known as a repeat.
MAX_AGE = timedelta(days=30)
MAX_ID = 200
MAX_HEADER = 4096


@dataclass(frozen=True)
class Letter:
    """A queue message as it came. Header names are lower-case, values are text; `message_id` is the property."""

    body: bytes
    headers: Mapping[str, str]
    content_type: str = ""
    message_id: str = ""


class NotTaken(Exception):
    """The message can never be taken; set it aside with this reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def letter(
    body: bytes | str,
    *,
    headers: Mapping[str, object] | None,
    content_type: object = "",
    message_id: object = "",
) -> Letter:
    """A letter from what client libraries make of a message: they decode some bodies and keep some headers as bytes."""
    raw = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else bytes(body)
    read = {str(name).lower(): _text(value) for name, value in (headers or {}).items()}
    return Letter(raw, read, _text(content_type), _text(message_id))


def reading() -> QuerySet[Connection]:
    """The connections whose queues are to be read now."""
    return Connection.objects.filter(is_active=True, reads_queue=True).order_by("pk")


def accept(connection: Connection, message: Letter) -> inbox.Received:
    """Store the message once, committed on return. Raises NotTaken, which is counted like a refused webhook."""
    try:
        return _accept(connection, message, now=timezone.now())
    except BadSignature as refusal:
        refusals.count(connection, refusal.reason, message.headers)
        raise NotTaken(refusal.reason) from refusal


def refuse(connection: Connection, reason: Reason) -> None:
    """Count a message that is not even a letter."""
    refusals.count(connection, reason)


def note(
    connection_id: int, *, waiting: int, parked: int, last_message_at: datetime | None, problem: str = ""
) -> None:
    """Write down for staff what the consumer sees of a queue."""
    seen: dict[str, object] = {
        "seen_at": timezone.now(),
        "waiting": waiting,
        "parked": parked,
        "problem": problem[:300],
    }
    if last_message_at is not None:
        seen["last_message_at"] = last_message_at
    QueueStatus.objects.update_or_create(connection_id=connection_id, defaults=seen)


def _accept(connection: Connection, message: Letter, *, now: datetime) -> inbox.Received:
    if len(message.body) > settings.INBOUND_MAX_BYTES:
        raise BadSignature(Reason.TOO_LARGE)
    if connection.queue_must_sign:
        _verify(connection, message, now=now)
    event = _cloud_event(message)
    key = _key(message, event, is_signed=connection.queue_must_sign)
    received = inbox.receive(
        connection, dedupe_key=key, body=_content(connection, message, event), received_at=now
    )
    if received.is_reused:
        # Counted by the inbox already. A webhook's sender keeps what it sent; a queue would lose it.
        raise NotTaken(Reason.REUSED_ID)
    return received


def _verify(connection: Connection, message: Letter, *, now: datetime) -> None:
    parts = signatures.SignedParts(
        *(_bytes(message.headers.get(f"webhook-{name}", "")) for name in ("id", "timestamp", "signature"))
    )
    secrets = connections.valid_secrets(connection, Door.INBOUND, now=now)
    age = int(MAX_AGE.total_seconds())
    signatures.verify(parts, message.body, secrets=secrets, now=int(now.timestamp()), max_age=age)


def _cloud_event(message: Letter) -> cloud_events.CloudEvent | None:
    try:
        return cloud_events.read(message.body, headers=message.headers, content_type=message.content_type)
    except cloud_events.NotACloudEvent as problem:
        raise BadSignature(Reason.BAD_CLOUD_EVENT) from problem


def _key(message: Letter, event: cloud_events.CloudEvent | None, *, is_signed: bool) -> str:
    """What stays the same when the message comes again. Under a signature only the id that is signed counts."""
    signed = message.headers.get("webhook-id", "")
    ids: Iterable[str] = [signed] if is_signed else [signed, event.id if event else "", message.message_id]
    key = next((found for found in ids if found), "")
    if not key:
        raise BadSignature(Reason.NO_MESSAGE_ID)
    if len(key) > MAX_ID or not key.isprintable():
        raise BadSignature(Reason.BAD_MESSAGE_ID)
    return key


def _content(connection: Connection, message: Letter, event: cloud_events.CloudEvent | None) -> bytes:
    """What is stored: the body as it came, or what a CloudEvent says in the words of the connection's kind."""
    if event is not None:
        is_ours = connection.adapter == StandardAdapter.slug
        return event.envelope() if is_ours else event.data_bytes()
    try:
        load_object(message.body)
    except BadField as problem:
        raise BadSignature(Reason.NOT_JSON) from problem
    return message.body


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value[:MAX_HEADER].decode("utf-8", "replace")
    return "" if value is None else str(value)[:MAX_HEADER]


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "replace")
