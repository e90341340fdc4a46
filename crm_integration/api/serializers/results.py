"""What a campaign changed."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from crm_integration.api.serializers.common import TextOrNull
from segmentation.models import CampaignResult
from segmentation.results.measuring import MOST_RELEVANT, MOST_WINDOW


class MeasureSerializer(serializers.Serializer):
    """What is left out is as it was asked last time."""

    window_days = serializers.IntegerField(
        required=False, min_value=1, max_value=MOST_WINDOW, help_text="Orders count for so many days."
    )
    relevant_percent = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MOST_RELEVANT,
        help_text="The effect worth knowing, in percent of what those held out do.",
    )


class CampaignResultSerializer(serializers.ModelSerializer):
    """`result` is null until a worker has measured; docs/campaigns.md says what each figure means.

    Effects are per customer who was assigned to the campaign (intention to treat), with 95 % intervals.
    """

    campaign: Any = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    result = serializers.JSONField(read_only=True)
    problem = TextOrNull(source="error")

    class Meta:
        model = CampaignResult
        fields: tuple[str, ...] = (
            "id", "campaign", "window_days", "relevant_percent", "as_of", "state", "progress", "problem", "result",
            "created_at", "finished_at",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields
