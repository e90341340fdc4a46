"""The generic webhook: Standard Webhooks in and out, with the event format of docs/webhooks.md."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm_integration import http, signatures
from crm_integration.adapters import standard_events
from crm_integration.adapters.base import Adapter, Delivery, ItemRejection, Parsed, Unreadable
from crm_integration.adapters.reading import BadField, Fields, load_object
from crm_integration.models import OutboundMessage
from segmentation.normal import NormalCustomer, NormalEvent

TEST_TOPIC = "ping"
BATCH_TOPIC = "events.batch"
MAX_BATCH = 1000
MAX_TOPIC = 100


class StandardAdapter(Adapter):
    slug = "standard"
    label = gettext_lazy("Standard Webhooks (generic)")
    uses_shop_ids = True

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: int) -> None:
        parts = signatures.SignedParts(
            message_id=delivery.headers.get("webhook-id", b""),
            timestamp=delivery.headers.get("webhook-timestamp", b""),
            signatures=delivery.headers.get("webhook-signature", b""),
        )
        signatures.verify(parts, delivery.body, secrets=secrets, now=now)

    def dedupe_key(self, delivery: Delivery) -> str:
        return delivery.headers["webhook-id"].decode("ascii")

    def parse(self, body: bytes, *, message_key: str) -> Parsed:
        try:
            envelope = Fields(load_object(body))
            topic = envelope.text("type", most=MAX_TOPIC, required=True)
            if topic == TEST_TOPIC:
                return Parsed(topic, is_test=True)
            if topic != BATCH_TOPIC and topic not in standard_events.TOPICS:
                return Parsed(topic, is_known=False)
            return _parse_entries(topic, _entries(envelope, topic), message_key)
        except BadField as problem:
            raise Unreadable(str(problem)) from problem

    def push(self, message: OutboundMessage, *, secrets: Sequence[str], now: int) -> http.Answer:
        body = bytes(message.body)
        signed = signatures.headers(secrets, message_id=message.message_id, timestamp=now, body=body)
        return http.post(
            message.connection.outbound_url,
            body=body,
            headers={**signed, "Content-Type": "application/json"},
        )


def _entries(envelope: Fields, topic: str) -> list[Fields]:
    if topic != BATCH_TOPIC:
        return [envelope]
    data = envelope.object("data", required=True)
    entries = data.objects("events", most=MAX_BATCH) if data else []
    if not entries:
        raise BadField(_("data.events is missing or empty."))
    return entries


def _parse_entries(topic: str, entries: list[Fields], message_key: str) -> Parsed:
    events: list[tuple[int, NormalEvent]] = []
    customers: list[tuple[int, NormalCustomer]] = []
    rejections = []
    for number, entry in enumerate(entries):
        key = message_key if topic != BATCH_TOPIC else f"{message_key}:{number}"
        try:
            found = standard_events.read(entry, fallback_key=key)
        except BadField as problem:
            rejections.append(ItemRejection(number, str(problem)))
            continue
        events += [(number, event) for event in found.events]
        customers += [(number, customer) for customer in found.customers]
    return Parsed(
        topic,
        events=tuple(event for _number, event in events),
        event_items=tuple(number for number, _event in events),
        customers=tuple(customer for _number, customer in customers),
        customer_items=tuple(number for number, _customer in customers),
        rejections=tuple(rejections),
    )
