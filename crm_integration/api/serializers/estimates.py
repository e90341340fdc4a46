"""Estimates of what another choice of offers would have brought."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from crm_integration.api.serializers.jobs import JOB, JobSerializer
from segmentation.models import PolicyEstimate


class EstimateSerializer(JobSerializer):
    """`result` is empty until it is over. With `result.refusal` nothing is told, and it says why; else `bought` (share)
    and `spent` (minor units a customer) hold each estimator's value with its 95 % interval, what was `logged`, and the
    `gain` over it."""

    campaign: Any = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    other: Any = serializers.SlugRelatedField(slug_field="slug", read_only=True, allow_null=True)
    offer: Any = serializers.SlugRelatedField(slug_field="slug", read_only=True, allow_null=True)
    result = serializers.JSONField(read_only=True)

    class Meta:
        model = PolicyEstimate
        fields: tuple[str, ...] = ("id", "campaign", "other", "offer", "horizon_days", "result", *JOB)
        read_only_fields: tuple[str, ...] = fields


class NewEstimateSerializer(serializers.Serializer):
    campaign = serializers.SlugField(help_text="The campaign that draws.")
    other = serializers.SlugField(required=False, help_text="Another campaign, saved in whatever state.")
    offer = serializers.SlugField(required=False, help_text="Or one offer for everybody.")
    horizon_days = serializers.IntegerField(default=30, min_value=1, max_value=365)
