"""Decisions, service priorities, segments, offers and products."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from crm_integration.api.serializers.common import MoneyField, NamedSerializer, PriorityField, TextOrNull
from segmentation.models import Decision, Membership, Offer, Product, Segment, ServicePriority
from segmentation.segment_history import Stay


class DecisionSerializer(serializers.ModelSerializer):
    customer = serializers.CharField(source="customer.reference", read_only=True)
    cause = serializers.SerializerMethodField()
    offer = NamedSerializer(read_only=True, allow_null=True)
    campaign = NamedSerializer(read_only=True, allow_null=True)
    priority = PriorityField()

    class Meta:
        model = Decision
        fields: tuple[str, ...] = (
            "id",
            "customer",
            "as_of",
            "decided_at",
            "cause",
            "offer",
            "campaign",
            "priority",
        )
        read_only_fields: tuple[str, ...] = fields

    def get_cause(self, decision: Decision) -> str:
        return Decision.Cause(decision.cause).name.lower()


class RuleSerializer(serializers.Serializer):
    """One rule that was looked at. `reasons`: what it found of the customer."""

    title = serializers.CharField()
    verdict = serializers.CharField(
        help_text="A stable word, such as won, outranked, rule_false, no_consent."
    )
    sentence = serializers.CharField()
    reasons = serializers.ListField(child=serializers.CharField())


class ReasonsSerializer(serializers.Serializer):
    summary = serializers.ListField(child=serializers.CharField())
    offers = RuleSerializer(many=True)
    priorities = RuleSerializer(many=True)


class ReasonsNowSerializer(ReasonsSerializer):
    """The reasons of what a customer gets now. `decided_at` null: judged as it would be now."""

    gets = serializers.BooleanField()
    decided_at = serializers.DateTimeField(allow_null=True)


class DecisionDetailSerializer(DecisionSerializer):
    """With the reasons, as they were when it was made."""

    reasons = serializers.SerializerMethodField()

    class Meta(DecisionSerializer.Meta):
        fields: tuple[str, ...] = (*DecisionSerializer.Meta.fields, "reasons")
        read_only_fields: tuple[str, ...] = fields

    @extend_schema_field(ReasonsSerializer)
    def get_reasons(self, decision: Decision) -> dict[str, Any]:
        return self.context["reasons"]


class ServicePrioritySerializer(serializers.ModelSerializer):
    """How soon a customer is served, by which rule. Who is not listed is served as usual."""

    customer = serializers.CharField(source="customer.reference", read_only=True)
    priority = PriorityField(source="level")
    rule = serializers.CharField(source="rule.name", read_only=True, allow_null=True, default=None)
    handling = serializers.CharField(source="rule.handling", read_only=True, allow_null=True, default=None)
    owner = serializers.CharField(source="rule.owner", read_only=True, allow_null=True, default=None)
    reason = serializers.CharField(
        source="override.reason",
        read_only=True,
        allow_null=True,
        default=None,
        help_text="Of a person's word.",
    )
    answer_by = serializers.DateTimeField(source="respond_by", read_only=True, allow_null=True)
    until = serializers.DateTimeField(source="expires_at", read_only=True, allow_null=True)

    class Meta:
        model = ServicePriority
        fields: tuple[str, ...] = (
            "customer",
            "priority",
            "since",
            "rule",
            "handling",
            "owner",
            "reason",
            "answer_by",
            "until",
            "handled_at",
        )
        read_only_fields: tuple[str, ...] = fields


class SegmentSerializer(serializers.ModelSerializer):
    """`members` is the count of the last refresh."""

    description = TextOrNull()
    members = serializers.IntegerField(source="member_count", read_only=True)
    version = serializers.IntegerField(source="version.number", read_only=True, allow_null=True, default=None)
    rule = serializers.JSONField(source="version.rule", read_only=True, allow_null=True, default=None)

    class Meta:
        model = Segment
        fields: tuple[str, ...] = (
            "slug",
            "name",
            "description",
            "is_active",
            "members",
            "refreshed_at",
            "version",
            "rule",
        )
        read_only_fields: tuple[str, ...] = fields


class MemberSerializer(serializers.Serializer):
    """Somebody who is in a segment (Membership), or was on a day (segment_history.Stay)."""

    customer = serializers.SerializerMethodField(help_text="The shop's id.")
    entered_at = serializers.DateTimeField(read_only=True)
    left_at = serializers.SerializerMethodField(help_text="Null: still in.")

    def get_customer(self, row: Membership | Stay) -> str:
        return row.reference if isinstance(row, Stay) else row.customer.reference

    def get_left_at(self, row: Membership | Stay) -> datetime | None:
        return row.left_at if isinstance(row, Stay) else None


class OfferSerializer(serializers.ModelSerializer):
    """What the customer gets; what it costs the shop stays in the console."""

    text = serializers.CharField(read_only=True, help_text="With {percentage}, {amount}, {code}, {products}.")
    value = MoneyField(source="value_minor")
    code = TextOrNull()

    class Meta:
        model = Offer
        fields: tuple[str, ...] = (
            "slug",
            "name",
            "kind",
            "text",
            "percentage",
            "value",
            "code",
            "valid_days",
            "is_active",
        )
        read_only_fields: tuple[str, ...] = fields


class ProductSerializer(serializers.ModelSerializer):
    id = serializers.CharField(source="external_id", read_only=True)
    name = TextOrNull()
    category = serializers.CharField(source="category.name", read_only=True, allow_null=True, default=None)

    class Meta:
        model = Product
        fields: tuple[str, ...] = ("id", "name", "category", "first_seen_at")
        read_only_fields: tuple[str, ...] = fields
