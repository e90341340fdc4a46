"""Requests of people about their data."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from crm_integration.api.serializers.common import TextOrNull
from segmentation import normal
from segmentation.models import ModelVersion, PrivacyRequest

# A whole shop is erased by staff alone.
KINDS = [(kind.value, kind.label) for kind in (PrivacyRequest.Kind.EXPORT, PrivacyRequest.Kind.ERASE)]


class NewPrivacyRequestSerializer(serializers.Serializer):
    """By the shop's id or by e-mail; one of them is needed."""

    kind = serializers.ChoiceField(choices=KINDS)
    customer = serializers.CharField(
        default="", allow_blank=True, max_length=normal.MAX_REFERENCE, help_text="The shop's id."
    )
    email = serializers.CharField(default="", allow_blank=True, max_length=254)
    reason = serializers.CharField(default="", allow_blank=True, max_length=300, help_text="For staff.")


class PrivacyRequestSerializer(serializers.ModelSerializer):
    """`is_held`: whether anything was held; null until it is known."""

    kind = serializers.ChoiceField(choices=KINDS)
    problem = TextOrNull(source="error")
    model_versions = serializers.SerializerMethodField(
        help_text="Numbers of the model versions that may have learned from an erased person."
    )

    class Meta:
        model = PrivacyRequest
        fields: tuple[str, ...] = (
            "id", "kind", "state", "is_held", "model_versions", "retrain_by", "due_at", "problem", "created_at",
            "finished_at",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields

    def get_model_versions(self, row: PrivacyRequest) -> list[int]:
        rows: Any = ModelVersion.objects.filter(pk__in=row.versions)
        return list(rows.order_by("number").values_list("number", flat=True))
