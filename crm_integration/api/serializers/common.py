"""Pieces that several resources share."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from crm_integration import payloads
from segmentation.models.customers import PriorityLevel


class MoneySerializer(serializers.Serializer):
    amount = serializers.CharField(help_text='In major units, such as "59.90".')
    currency = serializers.CharField(help_text="Three letters.")


class PrioritySerializer(serializers.Serializer):
    level = serializers.IntegerField(help_text="1 low, 2 normal, 3 high, 4 urgent.")
    name = serializers.CharField()


@extend_schema_field(MoneySerializer(allow_null=True))
class MoneyField(serializers.Field):
    """Minor units of the shop's currency as {amount, currency}; the context holds the shop."""

    def __init__(self, **options: Any) -> None:
        super().__init__(read_only=True, **options)

    def to_representation(self, value: int | None) -> dict[str, str] | None:
        return payloads.money(value, self.context["shop"])


@extend_schema_field(PrioritySerializer)
class PriorityField(serializers.Field):
    def __init__(self, **options: Any) -> None:
        super().__init__(read_only=True, **options)

    def to_representation(self, value: int) -> dict[str, Any]:
        return {"level": value, "name": PriorityLevel(value).name.lower()}


class TextOrNull(serializers.CharField):
    """Columns keep "" for nothing; readers get null."""

    def __init__(self, **options: Any) -> None:
        super().__init__(read_only=True, allow_null=True, **options)

    def to_representation(self, value: Any) -> Any:
        return str(value) or None


class NamedSerializer(serializers.Serializer):
    """A thing by its short name."""

    slug = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)
