"""A rule as a polars expression: Boolean, never null, by the missing-value rule of rules/language.py."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache, reduce
from operator import and_, or_
from typing import Any, Final

import polars as pl

from segmentation.rules import periods
from segmentation.rules.language import Condition, Group, Node
from segmentation.rules.operators import FieldType, ValueShape

NEVER: Final = pl.lit(False)
Test = Callable[[pl.Expr, Any, date], pl.Expr]


def expression(node: Node, *, today: date, columns: Container[str] | None = None) -> pl.Expr:
    """The rule over a decision frame. A field whose column is not among `columns` counts as missing.

    Expressions of the last few thousand rules are kept: putting one together takes longer than a customer's answer.
    """
    return _maybe(node, today, columns).fill_null(False)


def _maybe(node: Node, today: date, columns: Container[str] | None) -> pl.Expr:
    """The rule before its last word: null where a missing value leaves it open, which counts as False.

    `all` and `any` of parts that are null come to the same whether null becomes False before or after, so a tree is
    filled once instead of at every condition; under `none` it is filled first.
    """
    present = None if columns is None else frozenset(f for f in _fields(_Same(node)) if f in columns)
    return _kept(_Same(node), today, present)


@dataclass(frozen=True, eq=False)
class _Same:
    """A rule that equals only itself; comparing trees would cost what keeping their expressions saves."""

    node: Node

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.node is self.node

    def __hash__(self) -> int:
        return id(self.node)


@lru_cache(maxsize=2048)
def _fields(rule: _Same) -> tuple[str, ...]:
    """Names of the fields that a rule asks about."""
    node = rule.node
    if isinstance(node, Condition):
        return (node.field.name,)
    return tuple(sorted({name for child in node.children for name in _fields(_Same(child))}))


@lru_cache(maxsize=2048)
def _kept(rule: _Same, today: date, columns: frozenset[str] | None) -> pl.Expr:
    node = rule.node
    if isinstance(node, Condition):
        return _condition(node, today=today, present=columns is None or node.field.name in columns)
    parts = [_maybe(child, today, columns) for child in node.children]
    return reduce(and_, parts) if node.kind == "all" else _any_or_none(node, parts)


def mask(node: Node, frame: pl.DataFrame, *, today: date) -> pl.Series:
    """Whether each row of the frame fits."""
    fits = expression(node, today=today, columns=frame.columns).alias("fits")
    # A rule without a single known column is a literal, which a select would not spread over the rows.
    return frame.with_columns(fits)["fits"]


def _any_or_none(node: Group, parts: list[pl.Expr]) -> pl.Expr:
    some = reduce(or_, parts)
    return some if node.kind == "any" else some.fill_null(False).not_()


def _condition(condition: Condition, *, today: date, present: bool) -> pl.Expr:
    if not present:
        return pl.lit(condition.op.name == "is_empty" or _outside(condition))
    if condition.field.type is FieldType.NUMBER and condition.op.name in PLAIN_NUMBERS:
        number = pl.col(condition.field.name).cast(pl.Float64)
        return PLAIN_NUMBERS[condition.op.name](number, condition.value)
    value = _clean(condition)
    if condition.op.name == "is_empty":
        return value.is_null()
    if condition.op.name == "is_not_empty":
        return value.is_not_null()
    test = TESTS[condition.field.type][condition.op.name]
    return test(value, _operand(condition), today)


def _outside(condition: Condition) -> bool:
    """A segment without a column has no members: everybody is outside."""
    return condition.field.type is FieldType.SEGMENT and condition.op.name == "not_in"


def _clean(condition: Condition) -> pl.Expr:
    """The column in the type of its field, missing values as null."""
    column = pl.col(condition.field.name)
    match condition.field.type:
        case FieldType.NUMBER:
            return column.cast(pl.Float64).fill_nan(None)
        case FieldType.BOOLEAN:
            return column.cast(pl.Float64).fill_nan(None).cast(pl.Boolean)
        case FieldType.SEGMENT:
            return column.cast(pl.Boolean).fill_null(False)
        case FieldType.DATE:
            return column.cast(pl.Date)
        case FieldType.TEXT:
            text = column.cast(pl.String)
            return pl.when(text != "").then(text.str.to_lowercase())
        case FieldType.CHOICE:
            text = column.cast(pl.String)
            return pl.when(text != "").then(text)
        case FieldType.TAGS:
            return column.cast(pl.List(pl.String))


def _operand(condition: Condition) -> Any:
    """The condition's value, in small letters where capitals do not count."""
    if condition.field.type is not FieldType.TEXT or condition.op.shape is ValueShape.PATTERN:
        return condition.value
    if isinstance(condition.value, tuple):
        return tuple(str(item).lower() for item in condition.value)
    return str(condition.value).lower()


def _days(count: float) -> timedelta:
    return timedelta(days=int(count))


def _between(value: pl.Expr, pair: Any, _today: date) -> pl.Expr:
    return (value >= pair[0]) & (value <= pair[1])


def _from_to(value: pl.Expr, days: tuple[date, date]) -> pl.Expr:
    return (value >= pl.lit(days[0])) & (value <= pl.lit(days[1]))


def _comes_round(value: pl.Expr, first: date, last: date) -> pl.Expr:
    """Whether the date's month and day stand in the calendar from `first` to `last`."""
    month_day = value.dt.month().cast(pl.Int32) * 100 + value.dt.day().cast(pl.Int32)
    return month_day.is_in(list(periods.anniversaries(first, last)))


def _some(value: pl.Expr, given: Any) -> pl.Expr:
    return reduce(or_, (value.list.contains(tag) for tag in given))


# What may be asked of numbers with NaN among them, which polars takes for the greatest number; making NaN missing first
# would copy the column.
PLAIN_NUMBERS: Final[dict[str, Callable[[pl.Expr, Any], pl.Expr]]] = {
    "=": lambda value, given: value == given,
    "<": lambda value, given: value < given,
    "<=": lambda value, given: value <= given,
    ">": lambda value, given: (value > given) & value.is_not_nan(),
    ">=": lambda value, given: (value >= given) & value.is_not_nan(),
    "!=": lambda value, given: (value != given) & value.is_not_nan(),
    "between": lambda value, given: (value >= given[0]) & (value <= given[1]),
    "in": lambda value, given: value.is_in(list(given)),
}
_ONE_OF: Final[dict[str, Test]] = {
    "is": lambda value, given, today: value == pl.lit(given),
    "is_not": lambda value, given, today: value != pl.lit(given),
    "in": lambda value, given, today: value.is_in(list(given)),
    "not_in": lambda value, given, today: value.is_in(list(given)).not_(),
}
TESTS: Final[dict[FieldType, dict[str, Test]]] = {
    FieldType.NUMBER: {
        "not_between": lambda value, given, today: _between(value, given, today).not_(),
        "not_in": lambda value, given, today: value.is_in(list(given)).not_(),
    },
    FieldType.TEXT: {
        **_ONE_OF,
        "contains": lambda value, given, today: value.str.contains(given, literal=True),
        "not_contains": lambda value, given, today: value.str.contains(given, literal=True).not_(),
        "starts_with": lambda value, given, today: value.str.starts_with(given),
        "ends_with": lambda value, given, today: value.str.ends_with(given),
        "matches": lambda value, given, today: value.str.contains(f"(?i){given}"),
        "not_matches": lambda value, given, today: value.str.contains(f"(?i){given}").not_(),
    },
    FieldType.CHOICE: _ONE_OF,
    FieldType.BOOLEAN: {"is": lambda value, given, today: value == pl.lit(given)},
    FieldType.DATE: {
        "on": lambda value, given, today: value == pl.lit(given),
        "before": lambda value, given, today: value < pl.lit(given),
        "after": lambda value, given, today: value > pl.lit(given),
        "on_or_before": lambda value, given, today: value <= pl.lit(given),
        "on_or_after": lambda value, given, today: value >= pl.lit(given),
        "between": lambda value, given, today: _from_to(value, given),
        "within_days": lambda value, given, today: (
            (value >= pl.lit(today - _days(given))) & (value <= pl.lit(today))
        ),
        "older_than_days": lambda value, given, today: value < pl.lit(today - _days(given)),
        "in_next_days": lambda value, given, today: (
            (value >= pl.lit(today)) & (value <= pl.lit(today + _days(given)))
        ),
        "in_period": lambda value, given, today: _from_to(value, periods.days_of(given, today)),
        "not_in_period": lambda value, given, today: _from_to(value, periods.days_of(given, today)).not_(),
        "anniversary_in_next_days": lambda value, given, today: _comes_round(
            value, today, today + _days(given)
        ),
        "anniversary_in_last_days": lambda value, given, today: _comes_round(
            value, today - _days(given), today
        ),
        "anniversary_in_period": lambda value, given, today: _comes_round(
            value, *periods.days_of(given, today)
        ),
    },
    FieldType.TAGS: {
        "any_of": lambda value, given, today: _some(value, given),
        "all_of": lambda value, given, today: reduce(and_, (value.list.contains(tag) for tag in given)),
        "none_of": lambda value, given, today: _some(value, given).not_(),
    },
    FieldType.SEGMENT: {
        "in": lambda value, given, today: value,
        "not_in": lambda value, given, today: value.not_(),
    },
}
