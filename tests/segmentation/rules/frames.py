"""Fields of every type and frames to try rules on, without a database."""

from __future__ import annotations

from segmentation.rules.events import EventQuery, Measure, Picked
from segmentation.rules.fields import Choice, RuleField, of_events
from segmentation.rules.operators import FieldType

CATEGORIES = of_events(
    EventQuery(Picked(("order_placed",)), Measure.LAST_CATEGORY),
    choices=(Choice("toys", "toys"), Choice("games", "games"), Choice("books", "books")),
)
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
        CATEGORIES,
    )
}
