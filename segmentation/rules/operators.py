"""The operators of a condition: which types of field they fit, which value they take, how they read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

Words = str | Promise


class FieldType(StrEnum):
    NUMBER = "number"
    TEXT = "text"
    CHOICE = "choice"
    BOOLEAN = "boolean"
    DATE = "date"
    SEGMENT = "segment"
    # Several choices at once, such as the categories of an order.
    TAGS = "tags"


class ValueShape(StrEnum):
    """What stands in a condition's "value"."""

    NOTHING = "nothing"
    ONE = "one"
    PAIR = "pair"
    MANY = "many"
    DAYS = "days"
    # A name of rules/periods.py: "this_month".
    PERIOD = "period"
    # A regular expression of Rust's regex crate, which takes linear time whatever the pattern.
    PATTERN = "pattern"


@dataclass(frozen=True)
class Operator:
    """`words` follow the field's label in a sentence; `needs` follow "needs" in a reason."""

    name: str
    shape: ValueShape
    words: Words
    needs: Words


_EMPTY: Final = (
    Operator("is_empty", ValueShape.NOTHING, _("is empty"), _("to be empty")),
    Operator("is_not_empty", ValueShape.NOTHING, _("is not empty"), _("any value")),
)
_ONE_OF: Final = (
    Operator("is", ValueShape.ONE, _("is %(value)s"), _("%(value)s")),
    Operator("is_not", ValueShape.ONE, _("is not %(value)s"), _("anything but %(value)s")),
    Operator("in", ValueShape.MANY, _("is one of %(value)s"), _("one of %(value)s")),
    Operator("not_in", ValueShape.MANY, _("is none of %(value)s"), _("none of %(value)s")),
)

OPERATORS: Final[dict[FieldType, tuple[Operator, ...]]] = {
    FieldType.NUMBER: (
        Operator("=", ValueShape.ONE, _("is %(value)s"), _("exactly %(value)s")),
        Operator("!=", ValueShape.ONE, _("is not %(value)s"), _("anything but %(value)s")),
        Operator(">", ValueShape.ONE, _("is more than %(value)s"), _("more than %(value)s")),
        Operator(">=", ValueShape.ONE, _("is at least %(value)s"), _("at least %(value)s")),
        Operator("<", ValueShape.ONE, _("is less than %(value)s"), _("less than %(value)s")),
        Operator("<=", ValueShape.ONE, _("is at most %(value)s"), _("at most %(value)s")),
        Operator(
            "between",
            ValueShape.PAIR,
            _("is from %(low)s to %(high)s"),
            _("a value from %(low)s to %(high)s"),
        ),
        Operator(
            "not_between",
            ValueShape.PAIR,
            _("is not from %(low)s to %(high)s"),
            _("a value outside %(low)s to %(high)s"),
        ),
        *_ONE_OF[2:],
        *_EMPTY,
    ),
    FieldType.TEXT: (
        *_ONE_OF,
        Operator("contains", ValueShape.ONE, _("contains %(value)s"), _("a text with %(value)s in it")),
        Operator(
            "not_contains",
            ValueShape.ONE,
            _("does not contain %(value)s"),
            _("a text without %(value)s in it"),
        ),
        Operator(
            "starts_with", ValueShape.ONE, _("starts with %(value)s"), _("a text that starts with %(value)s")
        ),
        Operator("ends_with", ValueShape.ONE, _("ends with %(value)s"), _("a text that ends with %(value)s")),
        Operator(
            "matches",
            ValueShape.PATTERN,
            _("matches the pattern %(value)s"),
            _("a text that matches %(value)s"),
        ),
        Operator(
            "not_matches",
            ValueShape.PATTERN,
            _("does not match the pattern %(value)s"),
            _("a text that does not match %(value)s"),
        ),
        *_EMPTY,
    ),
    FieldType.CHOICE: (*_ONE_OF, *_EMPTY),
    FieldType.BOOLEAN: (Operator("is", ValueShape.ONE, _("is %(value)s"), _("%(value)s")), *_EMPTY),
    FieldType.DATE: (
        Operator("on", ValueShape.ONE, _("is on %(value)s"), _("%(value)s")),
        Operator("before", ValueShape.ONE, _("is before %(value)s"), _("a date before %(value)s")),
        Operator("after", ValueShape.ONE, _("is after %(value)s"), _("a date after %(value)s")),
        Operator("on_or_before", ValueShape.ONE, _("is on or before %(value)s"), _("a date up to %(value)s")),
        Operator("on_or_after", ValueShape.ONE, _("is on or after %(value)s"), _("a date from %(value)s on")),
        Operator(
            "between", ValueShape.PAIR, _("is from %(low)s to %(high)s"), _("a date from %(low)s to %(high)s")
        ),
        Operator(
            "within_days",
            ValueShape.DAYS,
            _("is within the last %(value)s days"),
            _("a date within the last %(value)s days"),
        ),
        Operator(
            "older_than_days",
            ValueShape.DAYS,
            _("is more than %(value)s days ago"),
            _("a date more than %(value)s days ago"),
        ),
        Operator(
            "in_next_days",
            ValueShape.DAYS,
            _("is within the next %(value)s days"),
            _("a date within the next %(value)s days"),
        ),
        Operator("in_period", ValueShape.PERIOD, _("is %(value)s"), _("a date that is %(value)s")),
        Operator(
            "not_in_period",
            ValueShape.PERIOD,
            _("is not %(value)s"),
            _("a date that is not %(value)s"),
        ),
        Operator(
            "anniversary_in_next_days",
            ValueShape.DAYS,
            _("comes round within the next %(value)s days"),
            _("a birthday within the next %(value)s days"),
        ),
        Operator(
            "anniversary_in_last_days",
            ValueShape.DAYS,
            _("came round within the last %(value)s days"),
            _("a birthday within the last %(value)s days"),
        ),
        Operator(
            "anniversary_in_period",
            ValueShape.PERIOD,
            _("comes round %(value)s"),
            _("a birthday %(value)s"),
        ),
        *_EMPTY,
    ),
    FieldType.TAGS: (
        Operator("any_of", ValueShape.MANY, _("includes any of %(value)s"), _("any of %(value)s")),
        Operator("all_of", ValueShape.MANY, _("includes all of %(value)s"), _("all of %(value)s")),
        Operator("none_of", ValueShape.MANY, _("includes none of %(value)s"), _("none of %(value)s")),
        *_EMPTY,
    ),
    FieldType.SEGMENT: (
        Operator("in", ValueShape.NOTHING, _("includes the customer"), _("the customer to be in it")),
        Operator(
            "not_in",
            ValueShape.NOTHING,
            _("does not include the customer"),
            _("the customer not to be in it"),
        ),
    ),
}


def operator(kind: FieldType, name: str) -> Operator:
    """The operator called `name` for that type of field; raises KeyError."""
    for candidate in OPERATORS[kind]:
        if candidate.name == name:
            return candidate
    raise KeyError(name)
