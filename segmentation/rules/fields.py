"""Everything a condition may ask about: features, scores, attributes, the customer, consent, segments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from segmentation import targets
from segmentation.models import AttributeDefinition, Category, Consent, Segment, Target
from segmentation.rules import event_values
from segmentation.rules.errors import RuleError
from segmentation.rules.events import MEASURES, PREFIX, EventQuery, spec_of
from segmentation.rules.operators import OPERATORS, FieldType, Operator, Words

# Features that are themselves predictions of what a person will do.
PREDICTED_PREFIX: Final = "feature.btyd_"
CLASS_WORDS: Final[dict[str, Words]] = {
    "none": _("none"),
    "later": _("later"),
    "low": _("low"),
    "middle": _("middle"),
    "high": _("high"),
    "lowest": _("lowest"),
    "top": _("top"),
}
WITHIN: Final = "within_"
UNKNOWN_CONSENT: Final = "unknown"
# Not asked about itself: its choices are the categories that questions about events may name.
CATEGORY: Final = "event.category"
RANDOM: Final = "random."
LISTED: Final = "list."
# "random.spring" and "random.bucket" are independent of each other: every name is a draw of its own.
DRAW: Final = re.compile(r"random\.[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Choice:
    value: str
    label: Words


def is_prediction(name: str) -> bool:
    return name.startswith(("score.", PREDICTED_PREFIX))


@dataclass(frozen=True)
class RuleField:
    """A column of the decision frame as staff see it.

    unit: "money" (major units), "probability" or "share" (0 to 1), "days", "orders", ... or "".
    choices: the allowed values of a choice field; empty means any text.
    query: what is asked of the customer's events, for a field that is a question about them.
    """

    name: str
    label: Words = field(compare=False)
    type: FieldType
    unit: str = ""
    choices: tuple[Choice, ...] = field(default=(), compare=False)
    query: EventQuery | None = None

    @property
    def group(self) -> str:
        """feature, score, attribute, customer, consent or segment."""
        return self.name.split(".", 1)[0]

    @property
    def predicts(self) -> bool:
        """Whether the value is a prediction about a person, which customers outside profiling do not get."""
        return is_prediction(self.name)

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
    "event": _("Events"),
    "random": _("Chance"),
    "list": _("By hand"),
}


def available() -> tuple[RuleField, ...]:
    """All fields of this shop now, in the order staff should see them (three small queries)."""
    return (*_features(), *_scores(), *_attributes(), *_CUSTOMER, *_CONSENT, *_segments(), _BUCKET)


def registry() -> dict[str, RuleField]:
    """Fields by name, with the categories that events may be asked for."""
    known = {field.name: field for field in available()}
    return known | {CATEGORY: categories()}


def categories() -> RuleField:
    """The shop's product categories as choices."""
    names = Category.objects.order_by("name").values_list("name", flat=True)
    return RuleField(
        CATEGORY, _("Category"), FieldType.TAGS, choices=tuple(Choice(name, name) for name in names)
    )


def find(known: Mapping[str, RuleField], name: str) -> RuleField | None:
    """The field of that name among the known ones, or one whose name says all there is to know about it."""
    return known.get(name) or derived(name)


def derived(name: str) -> RuleField | None:
    """A draw of chance, a list kept by hand, or a question about events, made from its name alone."""
    if DRAW.fullmatch(name):
        return RuleField(
            name, format_lazy(_("Random number “{name}”"), name=name[len(RANDOM) :]), FieldType.NUMBER
        )
    if name.startswith(LISTED):
        return RuleField(name, _("Added by hand"), FieldType.BOOLEAN)
    if name.startswith(PREFIX):
        try:
            return of_events(event_values.read(spec_of(name), path="", sold=None))
        except (ValueError, RuleError):
            return None
    return None


def of_events(query: EventQuery, *, choices: tuple[Choice, ...] = ()) -> RuleField:
    """A question about events as a field; its column is worked out by rules/measures.py."""
    measured = MEASURES[query.measure]
    tags = choices if measured.type is FieldType.TAGS else ()
    return RuleField(query.name, query.label, measured.type, measured.unit, tags, query)


def _features() -> Iterator[RuleField]:
    from segmentation.features.catalogue import CATALOGUE

    types = {"numeric": FieldType.NUMBER, "categorical": FieldType.TEXT, "boolean": FieldType.BOOLEAN}
    for feature in CATALOGUE:
        yield RuleField(f"feature.{feature.name}", feature.label, types[feature.kind], unit=feature.unit)


def _scores() -> Iterator[RuleField]:
    for target in targets.scored():
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
    if target.kind == Target.Kind.RISK:
        yield RuleField(name, target.name, FieldType.NUMBER, unit="probability")
        return
    if target.kind == Target.Kind.UPLIFT:
        yield RuleField(name, target.name, FieldType.NUMBER, unit="probability")
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
    if name.startswith(WITHIN):
        return format_lazy(_("an order within {days} days"), days=name.removeprefix(WITHIN))
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
_BUCKET: Final = RuleField(
    "random.bucket", _("Random number from 0 to 100, always the same for a customer"), FieldType.NUMBER
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
