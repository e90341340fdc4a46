"""Events and customers in: the envelope of docs/webhooks.md, and the answer item by item."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from crm_integration.adapters.standard_events import TOPICS
from crm_integration.adapters.standard_message import BATCH_TOPIC, TEST_TOPIC
from crm_integration.intake import Status

TOPIC_NAMES = (*sorted(TOPICS), BATCH_TOPIC, TEST_TOPIC)


class EnvelopeSerializer(serializers.Serializer):
    """One event, or `events.batch` with up to 1,000 envelopes in `data.events`. See docs/webhooks.md for each topic.

    Read by the webhook's own code, which is why nothing more is said of `data` here.
    """

    type = serializers.ChoiceField(choices=TOPIC_NAMES)
    timestamp = serializers.DateTimeField(required=False, help_text="When it happened, with its zone.")
    id = serializers.CharField(required=False, help_text="Of the fact itself, where `data` has none.")
    data: Any = serializers.DictField(required=False)


class ItemSerializer(serializers.Serializer):
    item = serializers.IntegerField(source="number", help_text="Counts from 0.")
    status = serializers.ChoiceField(choices=[status.value for status in Status])
    reason = serializers.CharField(help_text="Why it was refused; empty otherwise.", allow_blank=True)


class ReceiptSerializer(serializers.Serializer):
    message = serializers.IntegerField(help_text="Ask /api/messages/<id>/ what came of it.")
    accepted = serializers.IntegerField()
    duplicates = serializers.IntegerField()
    refused = serializers.IntegerField()
    results = ItemSerializer(many=True)
