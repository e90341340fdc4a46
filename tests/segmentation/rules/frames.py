"""Fields of every type and frames to try rules on, without a database."""

from __future__ import annotations

from segmentation.rules.fields import Choice, RuleField
from segmentation.rules.operators import FieldType

FIELDS = {
    field.name: field
    for field in (
        RuleField("feature.orders_90d", "Orders in 90 days", FieldType.NUMBER, unit="orders"),
        RuleField("score.churn", "Chance to stop buying", FieldType.NUMBER, unit="probability"),
        RuleField("customer.country", "Country", FieldType.TEXT),
        RuleField(
            "score.value_tier.label",
            "Value tier",
            FieldType.CHOICE,
            choices=(Choice("low", "low"), Choice("high", "high")),
        ),
        RuleField("attribute.vip", "VIP", FieldType.BOOLEAN),
        RuleField("attribute.birthday", "Birthday", FieldType.DATE),
        RuleField("segment.loyal", "Loyal", FieldType.SEGMENT),
    )
}
