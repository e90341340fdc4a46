"""A whole message of the generic format (docs/webhooks.md): one envelope, or a batch of them."""

from __future__ import annotations

from django.utils.translation import gettext as _

from crm_integration.adapters import standard_events
from crm_integration.adapters.base import Found, Parsed, Unreadable, collect
from crm_integration.adapters.examples import Example
from crm_integration.adapters.reading import BadField, Fields, load_object

TEST_TOPIC = "ping"
BATCH_TOPIC = "events.batch"
MAX_BATCH = 1000
MAX_TOPIC = 100
EXAMPLE = Example(
    {
        "type": "customer.updated",
        "timestamp": "{now}",
        "data": {"reference": "{person}", "first_name": "Test", "signed_up_at": "{now}"},
    }
)


def parse(body: bytes, *, message_key: str) -> Parsed:
    """Raises Unreadable."""
    try:
        envelope = Fields(load_object(body))
        topic = envelope.text("type", most=MAX_TOPIC, required=True)
        if topic == TEST_TOPIC:
            return Parsed(topic, is_test=True)
        if topic != BATCH_TOPIC and topic not in standard_events.TOPICS:
            return Parsed(topic, is_known=False)
        entries = _entries(envelope, topic)
    except BadField as problem:
        raise Unreadable(str(problem)) from problem

    def read(entry: tuple[int, Fields]) -> Found:
        number, fields = entry
        key = message_key if topic != BATCH_TOPIC else f"{message_key}:{number}"
        return standard_events.read(fields, fallback_key=key)

    return collect(topic, ((number, (number, fields)) for number, fields in enumerate(entries)), read)


def _entries(envelope: Fields, topic: str) -> list[Fields]:
    if topic != BATCH_TOPIC:
        return [envelope]
    data = envelope.object("data", required=True)
    entries = data.objects("events", most=MAX_BATCH) if data else []
    if not entries:
        raise BadField(_("data.events is missing or empty."))
    return entries
