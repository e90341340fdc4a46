"""Everything a condition may ask about: features, scores, attributes, the customer, consent, segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from segmentation import targets
from segmentation.models import AttributeDefinition, Consent, Segment, Target
from segmentation.rules.operators import OPERATORS, FieldType, Operator, Words

# Features that are themselves predictions of what a person will do.
PREDICTED_PREFIX: Final = "feature.btyd_"
CLASS_WORDS: Final[dict[str, Words]] = {
    "none": _("none"),
    "low": _("low"),
    "middle": _("middle"),
    "high": _("high"),
}
UNKNOWN_CONSENT: Final = "unknown"


@dataclass(frozen=True)
class Choice:
    value: str
    label: Words


@dataclass(frozen=True)
class RuleField:
    """A column of the decision frame as staff see it.

    unit: "money" (major units), "probability" or "share" (0 to 1), "days", "orders", ... or "".
    choices: the allowed values of a choice field; empty means any text.
    """

    name: str
    label: Words
    type: FieldType
    unit: str = ""
    choices: tuple[Choice, ...] = ()

    @property
    def group(self) -> str:
        """feature, score, attribute, customer, consent or segment."""
        return self.name.split(".", 1)[0]

    @property
    def predicts(self) -> bool:
        """Whether the value is a prediction about a person, which customers outside profiling do not get."""
        return self.group == "score" or self.name.startswith(PREDICTED_PREFIX)

    @property
    def operators(self) -> tuple[Operator, ...]:
        return OPERATORS[self.type]


GROUP_WORDS: Final[dict[str, Words]] = {
    "feature": _("Behaviour"),
    "score": _("Scores"),
    "attribute": _("Your own columns"),
    "customer": _("Customer"),
    "consent": _("Consent"),
    "segment": _("Segments"),
}


def available() -> tuple[RuleField, ...]:
    """All fields of this shop now, in the order staff should see them (three small queries)."""
    return (*_features(), *_scores(), *_attributes(), *_CUSTOMER, *_CONSENT, *_segments())


def registry() -> dict[str, RuleField]:
    return {field.name: field for field in available()}


def _features() -> Iterator[RuleField]:
    from segmentation.features.catalogue import CATALOGUE

    types = {"numeric": FieldType.NUMBER, "categorical": FieldType.TEXT, "boolean": FieldType.BOOLEAN}
    for feature in CATALOGUE:
        yield RuleField(f"feature.{feature.name}", feature.label, types[feature.kind], unit=feature.unit)


def _scores() -> Iterator[RuleField]:
    for target in Target.objects.filter(is_active=True).select_related("attribute"):
        yield from target_fields(target)


def target_fields(target: Target) -> Iterator[RuleField]:
    """The fields of one target: its value, and by kind its label, class probabilities or median."""
    name = f"score.{target.slug}"
    if target.kind == Target.Kind.CHURN:
        yield RuleField(
            name, _title(target, _("Chance to stop buying")), FieldType.NUMBER, unit="probability"
        )
        return
    if target.kind == Target.Kind.FUTURE_VALUE:
        label = _title(target, _("Expected spend"))
        yield RuleField(name, label, FieldType.NUMBER, unit="money")
        yield RuleField(
            f"{name}.median", format_lazy("{}: {}", label, _("median")), FieldType.NUMBER, unit="money"
        )
        return
    classes = targets.classes(target)
    label = _title(target, _("Value tier")) if target.kind == Target.Kind.VALUE_TIER else target.name
    yield RuleField(
        f"{name}.label", label, FieldType.CHOICE, choices=tuple(Choice(c, class_word(c)) for c in classes)
    )
    yield RuleField(name, format_lazy("{}: {}", label, _("certainty")), FieldType.NUMBER, unit="probability")
    for cls in classes:
        words = format_lazy("{}: {}", label, format_lazy(_("probability of {name}"), name=class_word(cls)))
        yield RuleField(f"{name}.{cls}", words, FieldType.NUMBER, unit="probability")


def _title(target: Target, words: Words) -> Words:
    """The standard targets are called by translated words, a shop's own ones by their name."""
    return words if target.slug == target.kind else target.name


def class_word(name: str) -> Words:
    return CLASS_WORDS.get(name, name)


def _attributes() -> Iterator[RuleField]:
    types = {
        AttributeDefinition.Kind.NUMBER: FieldType.NUMBER,
        AttributeDefinition.Kind.TEXT: FieldType.TEXT,
        AttributeDefinition.Kind.CHOICE: FieldType.CHOICE,
        AttributeDefinition.Kind.BOOLEAN: FieldType.BOOLEAN,
        AttributeDefinition.Kind.DATE: FieldType.DATE,
    }
    for definition in AttributeDefinition.objects.filter(is_rule_field=True):
        choices = tuple(Choice(str(value), str(value)) for value in definition.choices)
        kind = AttributeDefinition.Kind(definition.kind)
        yield RuleField(f"attribute.{definition.slug}", definition.label, types[kind], choices=choices)


def _segments() -> Iterator[RuleField]:
    for slug, name in Segment.objects.order_by("name").values_list("slug", "name"):
        yield RuleField(f"segment.{slug}", name, FieldType.SEGMENT)


_CUSTOMER: Final = (
    RuleField("customer.country", _("Country"), FieldType.TEXT),
    RuleField("customer.channel", _("Channel"), FieldType.TEXT),
    RuleField(
        "customer.tenure_days", _("Days since the customer became known"), FieldType.NUMBER, unit="days"
    ),
    RuleField("customer.is_profiled", _("Profiled"), FieldType.BOOLEAN),
)
_ANSWERS: Final = (
    Choice(Consent.Status.GRANTED.value, Consent.Status.GRANTED.label),
    Choice(Consent.Status.DENIED.value, Consent.Status.DENIED.label),
    Choice(UNKNOWN_CONSENT, _("Never answered")),
)
_CONSENT: Final = (
    RuleField("consent.marketing", _("Consent to marketing"), FieldType.CHOICE, choices=_ANSWERS),
    RuleField("consent.profiling", _("Consent to profiling"), FieldType.CHOICE, choices=_ANSWERS),
)
