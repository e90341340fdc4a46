"""Customers, what belongs to one, and what to do about one."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from crm_integration.api.serializers.common import (
    MoneyField,
    MoneySerializer,
    NamedSerializer,
    PriorityField,
    PrioritySerializer,
    TextOrNull,
)
from segmentation.dashboard.score_views import ScoreView
from segmentation.kinds import EventKind
from segmentation.models import Consent, Customer, Event, Score


class CustomerSerializer(serializers.ModelSerializer):
    """Who a customer is becoming; no contact data."""

    country = TextOrNull()
    channel = TextOrNull()
    known_since = serializers.DateTimeField(source="created_at", read_only=True)
    tier = TextOrNull(help_text="high, middle, low, none; null: no score.")
    tier_is_set_by_staff = serializers.SerializerMethodField(
        help_text="Staff set this tier; the model's own stands in the customer's scores."
    )
    expected_value = MoneyField(source="future_value_minor")
    spent = MoneyField(source="spent_minor")
    priority = PriorityField()
    offer = NamedSerializer(source="current_offer", read_only=True, allow_null=True)
    why_no_score = TextOrNull(
        source="abstain_reason", help_text="A stable word; null where there is a score."
    )
    is_current = serializers.SerializerMethodField(help_text="Nothing came in since the scores were made.")

    class Meta:
        model = Customer
        fields: tuple[str, ...] = (
            "reference", "country", "channel", "signed_up_at", "known_since", "tier", "tier_is_set_by_staff",
            "churn_probability", "expected_value", "orders", "spent", "first_order_at", "last_order_at", "priority",
            "offer", "is_profiled", "scored_as_of", "why_no_score", "is_current",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields

    def get_tier_is_set_by_staff(self, customer: Customer) -> bool:
        return bool(customer.set_tiers)  # type: ignore[attr-defined]

    def get_is_current(self, customer: Customer) -> bool:
        return customer.scored_version == customer.input_version


class ConsentsSerializer(serializers.Serializer):
    marketing = serializers.ChoiceField(choices=Consent.Status.choices, allow_null=True)
    profiling = serializers.ChoiceField(choices=Consent.Status.choices, allow_null=True)


class CustomerDetailSerializer(CustomerSerializer):
    """With segments and consent."""

    segments = serializers.SerializerMethodField()
    consents = serializers.SerializerMethodField()

    class Meta(CustomerSerializer.Meta):
        fields: tuple[str, ...] = (*CustomerSerializer.Meta.fields, "segments", "consents")
        read_only_fields: tuple[str, ...] = fields

    def get_segments(self, customer: Customer) -> list[str]:
        return self.context["segments"]

    @extend_schema_field(ConsentsSerializer)
    def get_consents(self, customer: Customer) -> dict[str, str | None]:
        return self.context["consents"]


class ContactSerializer(serializers.Serializer):
    """Empty text: not known."""

    email = serializers.CharField()
    first_name = serializers.CharField()
    last_name = serializers.CharField()
    phone = serializers.CharField()
    language = serializers.CharField()
    birthday = serializers.DateField(allow_null=True)


class LookupSerializer(serializers.Serializer):
    """Find a customer by e-mail. In the body, because addresses of pages end up in logs."""

    email = serializers.CharField(max_length=254)


class FoundSerializer(serializers.Serializer):
    reference = serializers.CharField()


class EventSerializer(serializers.ModelSerializer):
    """Amounts in the shop's currency: goods paid, discounts off, shipping left out. The customer's own words stay out."""

    kind = serializers.SerializerMethodField()
    source: Any = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    source_id = serializers.CharField(source="source_key", read_only=True)
    version = serializers.IntegerField(source="source_version", read_only=True)
    amount = MoneyField(source="amount_minor")
    discount = MoneyField(source="discount_minor")
    order = TextOrNull(source="order_key")
    replaced_at = serializers.DateTimeField(
        source="superseded_at",
        read_only=True,
        allow_null=True,
        help_text="A later version of this fact counts since then.",
    )

    class Meta:
        model = Event
        fields: tuple[str, ...] = (
            "id", "kind", "occurred_at", "received_at", "source", "source_id", "version", "amount", "discount",
            "quantity", "line_count", "rating", "order", "replaced_at",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields

    def get_kind(self, event: Event) -> str:
        return EventKind(event.kind).slug


class ScoreSerializer(serializers.ModelSerializer):
    """`value`: churn, the probability; future value, the mean in major units; classes, the probability of `label`."""

    customer = serializers.CharField(source="customer.reference", read_only=True)
    target = serializers.CharField(source="target.slug", read_only=True)
    version = serializers.IntegerField(source="version.number", read_only=True)
    label: Any = TextOrNull()
    why_no_score = TextOrNull(source="abstain_reason")

    class Meta:
        model = Score
        fields: tuple[str, ...] = (
            "customer", "target", "version", "as_of", "value", "median", "lower", "upper", "label",
            "why_no_score",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class ReasonSerializer(serializers.Serializer):
    sentence = serializers.CharField()
    weight = serializers.IntegerField(help_text="Its part of all that is shown, in percent.")


class SideSerializer(serializers.Serializer):
    title = serializers.CharField()
    reasons = ReasonSerializer(many=True)


class OverrideSerializer(serializers.Serializer):
    """What staff set instead of the model's class, which stays in `label`."""

    label: Any = serializers.CharField()
    reason = serializers.CharField()
    since = serializers.DateTimeField(source="set_at")
    last_day = serializers.DateField(allow_null=True, help_text="Null: until somebody lifts it.")


class ExplainedScoreSerializer(ScoreSerializer):
    """With the answer in words, and what speaks for it and against it."""

    override = serializers.SerializerMethodField(help_text="Null: the model's own class counts.")
    answer = serializers.SerializerMethodField()
    reasons = serializers.SerializerMethodField()
    reasons_pending = serializers.SerializerMethodField(
        help_text="A worker is looking for them: ask again soon."
    )

    class Meta(ScoreSerializer.Meta):
        fields: tuple[str, ...] = (
            *ScoreSerializer.Meta.fields, "override", "answer", "reasons", "reasons_pending",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields

    def _view(self, score: Score) -> ScoreView:
        return self.context["views"][score.pk]

    @extend_schema_field(OverrideSerializer(allow_null=True))
    def get_override(self, score: Score) -> Any:
        said = self.context["overrides"].get(score.target_id)
        return None if said is None else OverrideSerializer(said).data

    def get_answer(self, score: Score) -> str:
        return self._view(score).headline

    @extend_schema_field(SideSerializer(many=True))
    def get_reasons(self, score: Score) -> Any:
        return SideSerializer(self._view(score).sides, many=True).data

    def get_reasons_pending(self, score: Score) -> bool:
        return score.reasons is None and not score.abstain_reason


class ReferenceSerializer(serializers.Serializer):
    reference = serializers.CharField()


class PickedSerializer(serializers.Serializer):
    number = serializers.CharField(help_text="As the shop calls it.")
    name = serializers.CharField(allow_blank=True)


class OfferedSerializer(NamedSerializer):
    kind = serializers.CharField()
    text = serializers.CharField(help_text="Filled in, except {first_name} and {last_name}.")
    texts = serializers.DictField(child=serializers.CharField(), help_text="In other languages, by code.")
    products = PickedSerializer(
        many=True, help_text="Those that {products} names; empty where none is suggested."
    )
    percentage = serializers.CharField(allow_null=True)
    points = serializers.IntegerField(allow_null=True)
    value = MoneySerializer(allow_null=True)
    code = serializers.CharField(allow_null=True)
    valid_until = serializers.DateField()


class BesideSerializer(OfferedSerializer):
    """An offer that another campaign gives along with the decision's."""

    campaign = NamedSerializer()


class ServedSerializer(PrioritySerializer):
    handling = serializers.CharField(allow_null=True)
    owner = serializers.CharField(allow_null=True)
    answer_by = serializers.DateTimeField(allow_null=True, help_text="In the shop's business hours.")
    until = serializers.DateTimeField(allow_null=True)


class WhySerializer(serializers.Serializer):
    """Sentences: the summary first, then what the rule that settled it found."""

    offer = serializers.ListField(child=serializers.CharField())
    priority = serializers.ListField(child=serializers.CharField())


class FreshnessSerializer(serializers.Serializer):
    decided_at = serializers.DateTimeField(allow_null=True)
    scored_as_of = serializers.DateField(allow_null=True)
    is_current = serializers.BooleanField(help_text="Nothing came in since the scores were made.")
    is_waiting = serializers.BooleanField(help_text="A worker is about to look at the customer again.")
    why_no_score = serializers.CharField(allow_null=True)


class NextActionSerializer(serializers.Serializer):
    """What a delivered decision says (docs/webhooks.md), why, and how fresh it is."""

    customer = ReferenceSerializer()
    decision_id = serializers.IntegerField(allow_null=True, help_text="Null: nothing was decided yet.")
    as_of = serializers.DateField(allow_null=True, help_text="Everything before this day was looked at.")
    tier = serializers.CharField(allow_null=True)
    tier_name = serializers.CharField(allow_null=True)
    churn_probability = serializers.FloatField(allow_null=True)
    expected_value = MoneySerializer(allow_null=True)
    service_priority = ServedSerializer()
    offer = OfferedSerializer(allow_null=True)
    campaign = NamedSerializer(allow_null=True)
    also = BesideSerializer(many=True)
    segments = serializers.ListField(child=serializers.CharField())
    reasons = serializers.ListField(child=serializers.CharField())
    why = WhySerializer()
    freshness = FreshnessSerializer()
