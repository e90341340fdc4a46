"""Trainings, classifications, imports, model versions, messages and deliveries."""

from __future__ import annotations

from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from crm_integration.api.serializers.common import TextOrNull
from crm_integration.models import ApiToken, DeliveryAttempt, InboundMessage, OutboundMessage, Scope
from segmentation.imports import ImportProblem, mapping, uploads
from segmentation.ml.config import PRESETS
from segmentation.models import ImportRun, ModelVersion, ScoringRun, TrainingRun

JOB = ("state", "progress", "doing", "problem", "created_at", "started_at", "finished_at")


class JobSerializer(serializers.ModelSerializer):
    """What all long work tells: queued, running, done, failed or cancelled; progress from 0 to 1."""

    doing = TextOrNull(source="progress_note")
    problem = TextOrNull(source="error")


class TrainingSerializer(JobSerializer):
    targets: Any = serializers.SlugRelatedField(slug_field="slug", many=True, read_only=True)
    versions: Any = serializers.SlugRelatedField(slug_field="number", many=True, read_only=True)

    class Meta:
        model = TrainingRun
        fields: tuple[str, ...] = (
            "id",
            "targets",
            "preset",
            "seed",
            "as_of",
            "versions",
            "cancel_requested",
            *JOB,
        )
        read_only_fields: tuple[str, ...] = fields


class ImportSerializer(JobSerializer):
    class Meta:
        model = ImportRun
        fields: tuple[str, ...] = (
            "id", "kind", "rows_read", "rows_imported", "rows_repeated", "rows_skipped", "rows_rejected",
            "events_created", "customers_created", "cancel_requested", *JOB,
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class MappingField(serializers.CharField):
    """JSON in a form's field."""

    def to_internal_value(self, data: Any) -> Any:
        text = super().to_internal_value(data)
        try:
            return mapping.from_text(text) if text else None
        except ImportProblem as problem:
            raise serializers.ValidationError(str(problem)) from problem


class NewImportSerializer(serializers.Serializer):
    """A form: the file, what it holds, and how it is to be read: a `preset`, or a `mapping` as JSON."""

    file = serializers.FileField(max_length=300)
    kind = serializers.ChoiceField(choices=ImportRun.Kind.choices, default=ImportRun.Kind.EVENTS)
    preset = serializers.CharField(required=False, default="", allow_blank=True, max_length=64)
    mapping = MappingField(required=False, default=None, allow_null=True, allow_blank=True)
    currency = serializers.CharField(required=False, default="", allow_blank=True, max_length=3)
    time_zone = serializers.CharField(required=False, default="", allow_blank=True, max_length=64)

    def validate_file(self, file: UploadedFile) -> UploadedFile:
        if not uploads.can_be_read(str(file.name)):
            raise serializers.ValidationError(
                _("This type of file cannot be read. Save it as CSV, Parquet or XLSX.")
            )
        return file


class ClassificationSerializer(serializers.ModelSerializer):
    """`summary`: customers by tier, segment, offer and priority, once it is over."""

    progress = serializers.SerializerMethodField()
    problem = TextOrNull(source="error")

    class Meta:
        model = ScoringRun
        fields: tuple[str, ...] = (
            "id", "as_of", "state", "progress", "customers", "summary", "problem", "created_at", "finished_at"
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields

    def get_progress(self, run: ScoringRun) -> float:
        if run.state == ScoringRun.State.DONE:
            return 1.0
        scored: int = getattr(run, "scored", None) or 0
        return min(scored / run.customers, 1.0) if run.customers else 0.0


class NewTrainingSerializer(serializers.Serializer):
    targets = serializers.ListField(
        child=serializers.CharField(max_length=50), min_length=1, max_length=20, help_text="Short names."
    )
    preset = serializers.ChoiceField(choices=sorted(PRESETS), default="default")
    seed = serializers.IntegerField(default=1, min_value=0, max_value=2**31 - 1)


class NewClassificationSerializer(serializers.Serializer):
    as_of = serializers.DateField(
        required=False, help_text="Everything before this day counts; left out: up to the end of today."
    )


class ModelVersionSerializer(serializers.ModelSerializer):
    targets: Any = serializers.SlugRelatedField(slug_field="slug", many=True, read_only=True)
    serves = serializers.SerializerMethodField(help_text="Targets that this version answers now.")
    training = serializers.IntegerField(source="training_run_id", read_only=True, allow_null=True)

    class Meta:
        model = ModelVersion
        fields: tuple[str, ...] = (
            "number",
            "algorithm",
            "targets",
            "serves",
            "training",
            "seed",
            "device",
            "created_at",
        )
        read_only_fields: tuple[str, ...] = fields

    def get_serves(self, version: ModelVersion) -> list[str]:
        return sorted(slot.target.slug for slot in version.champion_of.all())


class ModelVersionDetailSerializer(ModelVersionSerializer):
    """With its figures: by target, metrics with intervals, baselines and curves."""

    evaluation = serializers.JSONField(read_only=True)
    data_snapshot = serializers.JSONField(read_only=True)
    features = serializers.JSONField(read_only=True)

    class Meta(ModelVersionSerializer.Meta):
        fields: tuple[str, ...] = (
            *ModelVersionSerializer.Meta.fields,
            "evaluation",
            "data_snapshot",
            "features",
        )
        read_only_fields: tuple[str, ...] = fields


class ItemRejectionSerializer(serializers.Serializer):
    item = serializers.IntegerField()
    reason = serializers.CharField()


class MessageSerializer(serializers.ModelSerializer):
    """What came of a request: `outcome` is null while it waits."""

    outcome = TextOrNull()
    topic = TextOrNull()
    problem = TextOrNull(source="error")
    rejections = serializers.SerializerMethodField()

    class Meta:
        model = InboundMessage
        fields: tuple[str, ...] = (
            "id",
            "state",
            "topic",
            "outcome",
            "events_created",
            "rejections",
            "problem",
            "received_at",
        )
        read_only_fields: tuple[str, ...] = fields

    @extend_schema_field(ItemRejectionSerializer(many=True))
    def get_rejections(self, message: InboundMessage) -> list[dict[str, Any]]:
        return (message.detail or {}).get("rejections", [])


class DeliverySerializer(serializers.ModelSerializer):
    """A message to a receiver. Its id stays the same over all attempts."""

    connection = serializers.CharField(source="connection.slug", read_only=True)
    customer = serializers.CharField(
        source="customer.reference", read_only=True, allow_null=True, default=None
    )
    problem = TextOrNull(source="error")

    class Meta:
        model = OutboundMessage
        fields: tuple[str, ...] = (
            "id", "message_id", "connection", "topic", "customer", "state", "attempts", "problem", "created_at",
            "delivered_at",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class AttemptSerializer(serializers.ModelSerializer):
    problem = TextOrNull(source="error")

    class Meta:
        model = DeliveryAttempt
        fields: tuple[str, ...] = ("number", "at", "status_code", "duration_ms", "problem")
        read_only_fields: tuple[str, ...] = fields


class DeliveryDetailSerializer(DeliverySerializer):
    log = AttemptSerializer(source="delivery_attempts", many=True, read_only=True)

    class Meta(DeliverySerializer.Meta):
        fields: tuple[str, ...] = (*DeliverySerializer.Meta.fields, "log")
        read_only_fields: tuple[str, ...] = fields


class TokenSerializer(serializers.ModelSerializer):
    """The token that asks."""

    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.choices), read_only=True)
    connection = serializers.CharField(
        source="connection.slug", read_only=True, allow_null=True, default=None
    )

    class Meta:
        model = ApiToken
        fields: tuple[str, ...] = ("name", "prefix", "scopes", "connection", "per_minute", "expires_at")
        read_only_fields: tuple[str, ...] = fields
