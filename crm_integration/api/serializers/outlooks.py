"""Demand outlooks."""

from __future__ import annotations

from rest_framework import serializers

from crm_integration.api.serializers.jobs import JOB, JobSerializer
from segmentation.demand.outlooks import HORIZONS
from segmentation.models import DemandOutlook


class OutlookSerializer(JobSerializer):
    class Meta:
        model = DemandOutlook
        fields: tuple[str, ...] = ("id", "weeks", *JOB)
        read_only_fields: tuple[str, ...] = fields


class OutlookDetailSerializer(OutlookSerializer):
    """`result`: null until it is done. `too_short` in it: the weeks of orders that it would need;
    `no_products`: no order says what was bought."""

    result = serializers.JSONField(read_only=True)

    class Meta(OutlookSerializer.Meta):
        fields: tuple[str, ...] = (*OutlookSerializer.Meta.fields, "result")
        read_only_fields: tuple[str, ...] = fields


class NewOutlookSerializer(serializers.Serializer):
    weeks = serializers.ChoiceField(choices=HORIZONS, default=4, help_text="Weeks to look ahead.")
