"""The message-queue door: what a queue holds ends in the same `inbox.receive` as a webhook. Knows no broker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from crm_integration import cloud_events, connections, door, inbox, kept_headers, refusals, signatures
from crm_integration.adapters import registry
from crm_integration.adapters.base import Adapter, Delivery
from crm_integration.adapters.reading import BadField, load_object, load_objects
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


@dataclass(frozen=True)
class _Arrival:
    """A letter and who reads it. `delivery`: the letter as the webhook that it may be passed on from."""

    connection: Connection
    adapter: Adapter
    letter: Letter
    delivery: Delivery

    @property
    def bears_vendors_signature(self) -> bool:
        """Of a vendor that signs in its own way: then its webhooks are passed on, headers and all."""
        return self.connection.queue_must_sign and not self.adapter.signs_by_standard


def _accept(connection: Connection, letter: Letter, *, now: datetime) -> inbox.Received:
    if len(letter.body) > settings.INBOUND_MAX_BYTES:
        raise BadSignature(Reason.TOO_LARGE)
    arrival = _arrival(connection, letter)
    adapter, delivery = arrival.adapter, arrival.delivery
    if connection.queue_must_sign:
        _verify(arrival, now=now)
    event = _cloud_event(letter)
    received = inbox.receive(
        connection,
        dedupe_key=_key(arrival, event),
        body=_content(adapter, letter, event),
        received_at=now,
        topic=adapter.topic(delivery) or _topic(adapter, event),
        headers=kept_headers.kept(delivery.headers),
        repeats_differ=not adapter.retries_are_identical,
    )
    if received.is_reused and adapter.retries_are_identical:
        # Counted by the inbox already. A webhook's sender keeps what it sent; a queue would lose it.
        raise NotTaken(Reason.REUSED_ID)
    return received


def _arrival(connection: Connection, letter: Letter) -> _Arrival:
    try:
        adapter = registry.get(connection.adapter)
    except registry.UnknownAdapter as error:
        raise BadSignature(Reason.NOT_CONFIGURED) from error
    headers = {name: _bytes(text) for name, text in letter.headers.items()}
    url = connections.hook_url(connection)
    return _Arrival(connection, adapter, letter, Delivery(letter.body, headers, url, connection.options))


def _verify(arrival: _Arrival, *, now: datetime) -> None:
    if arrival.bears_vendors_signature:
        door.verify(arrival.connection, arrival.adapter, arrival.delivery, now=now)
        return
    headers = arrival.delivery.headers
    parts = signatures.SignedParts(
        *(headers.get(f"webhook-{name}", b"") for name in ("id", "timestamp", "signature"))
    )
    secrets = connections.valid_secrets(arrival.connection, Door.INBOUND, now=now)
    age = int(MAX_AGE.total_seconds())
    signatures.verify(parts, arrival.letter.body, secrets=secrets, now=int(now.timestamp()), max_age=age)


def _cloud_event(message: Letter) -> cloud_events.CloudEvent | None:
    try:
        return cloud_events.read(message.body, headers=message.headers, content_type=message.content_type)
    except cloud_events.NotACloudEvent as problem:
        raise BadSignature(Reason.BAD_CLOUD_EVENT) from problem


def _key(arrival: _Arrival, event: cloud_events.CloudEvent | None) -> str:
    """What stays the same when the message comes again. Under a signature only what is signed counts."""
    if arrival.bears_vendors_signature:
        return arrival.adapter.dedupe_key(arrival.delivery)
    letter = arrival.letter
    signed = letter.headers.get("webhook-id", "")
    further = (event.id if event else "", letter.message_id)
    ids = (signed,) if arrival.connection.queue_must_sign else (signed, *further)
    key = next((found for found in ids if found), "")
    if not key:
        raise BadSignature(Reason.NO_MESSAGE_ID)
    if len(key) > MAX_ID or not key.isprintable():
        raise BadSignature(Reason.BAD_MESSAGE_ID)
    return key


def _topic(adapter: Adapter, event: cloud_events.CloudEvent | None) -> str:
    """Of an event for a kind whose webhooks tell the topic in a header."""
    return event.type if event is not None and not adapter.signs_topic else ""


def understood(connection: Connection, letter: Letter) -> tuple[str, bytes]:
    """Topic and content as they would be stored; "" and the body as it came where the letter cannot be taken."""
    try:
        arrival, event = _arrival(connection, letter), _cloud_event(letter)
        adapter = arrival.adapter
        return adapter.topic(arrival.delivery) or _topic(adapter, event), _content(adapter, letter, event)
    except BadSignature:
        return "", letter.body


def _content(adapter: Adapter, message: Letter, event: cloud_events.CloudEvent | None) -> bytes:
    """What is stored: the body as it came, or what a CloudEvent says in the words of the connection's kind."""
    if event is not None:
        return event.envelope() if adapter.reads_envelopes else event.data_bytes()
    read = load_object if adapter.reads_envelopes else load_objects
    try:
        read(message.body)
    except BadField as problem:
        raise BadSignature(Reason.NOT_JSON) from problem
    return message.body


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value[:MAX_HEADER].decode("utf-8", "replace")
    return "" if value is None else str(value)[:MAX_HEADER]


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "replace")
