"""The values of conditions: read from JSON by the operator's shape and the field's type, every error at its node."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

import polars as pl
from django.utils.translation import gettext as _

from segmentation.normal import is_clean
from segmentation.rules.errors import kind_of, refuse
from segmentation.rules.operators import FieldType, Operator, ValueShape
from segmentation.rules.periods import PERIODS

if TYPE_CHECKING:
    from segmentation.rules.fields import RuleField

MAX_VALUES: Final = 1000
MAX_TEXT: Final = 500
MAX_PATTERN: Final = 200
MAX_DAYS: Final = 36_500
# Above this a float no longer tells neighbouring integers apart.
MAX_NUMBER: Final = 2.0**53

Scalar = float | str | bool | date
Value = Scalar | tuple[Scalar, ...] | None


def read(data: object, *, field: RuleField, op: Operator, path: str) -> Value:
    match op.shape:
        case ValueShape.NOTHING:
            if data is not None:
                refuse(path, _("“%(op)s” takes no value."), op=op.name)
            return None
        case ValueShape.DAYS:
            return days(data, path=path)
        case ValueShape.PERIOD:
            return _period(data, path=path)
        case ValueShape.PATTERN:
            return _pattern(data, field=field, path=path)
        case ValueShape.PAIR:
            return _pair(data, field=field, path=path)
        case ValueShape.MANY:
            return _many(data, field=field, path=path)
        case ValueShape.ONE:
            return _scalar(data, field=field, path=path)


def days(data: object, *, path: str) -> float:
    whole = isinstance(data, int) or (isinstance(data, float) and data.is_integer())
    if isinstance(data, bool) or not isinstance(data, int | float) or not whole:
        refuse(path, _("Expected a whole number of days, found %(found)s."), found=kind_of(data))
    if not 0 <= data <= MAX_DAYS:
        refuse(path, _("The days must be from 0 to %(most)d."), most=MAX_DAYS)
    return float(data)


def _pair(data: object, *, field: RuleField, path: str) -> tuple[Scalar, Scalar]:
    if not isinstance(data, list | tuple) or len(data) != 2:
        refuse(path, _("“between” needs a list of two values, the lower and the upper."))
    low, high = (_scalar(item, field=field, path=f"{path}[{i}]") for i, item in enumerate(data))
    if low > high:  # type: ignore[operator]  # both are numbers or both are dates
        refuse(path, _("The lower value is above the upper value."))
    return low, high


def _many(data: object, *, field: RuleField, path: str) -> tuple[Scalar, ...]:
    if not isinstance(data, list | tuple) or not data:
        refuse(path, _("Expected a list with at least one value, found %(found)s."), found=kind_of(data))
    if len(data) > MAX_VALUES:
        refuse(
            path, _("The list has %(count)d values; the most is %(most)d."), count=len(data), most=MAX_VALUES
        )
    return tuple(_scalar(item, field=field, path=f"{path}[{i}]") for i, item in enumerate(data))


def _scalar(data: object, *, field: RuleField, path: str) -> Scalar:
    match field.type:
        case FieldType.NUMBER:
            return number(data, path=path)
        case FieldType.BOOLEAN:
            if not isinstance(data, bool):
                refuse(path, _("Expected true or false, found %(found)s."), found=kind_of(data))
            return data
        case FieldType.DATE:
            return day(data, path=path)
        case _:
            return _text(data, field=field, path=path)


def number(data: object, *, path: str) -> float:
    if isinstance(data, bool) or not isinstance(data, int | float) or data != data:
        refuse(path, _("Expected a number, found %(found)s."), found=kind_of(data))
    if not -MAX_NUMBER <= data <= MAX_NUMBER:
        refuse(path, _("The number is too large."))
    return float(data)


def day(data: object, *, path: str) -> date:
    try:
        # fromisoformat also takes week dates; only the plain form is promised.
        if isinstance(data, str) and len(data) == 10 and data[4] == data[7] == "-":
            return date.fromisoformat(data)
    except ValueError:
        pass
    return refuse(path, _("Expected a date such as 2024-02-29, found %(found)s."), found=kind_of(data))


def _text(data: object, *, field: RuleField, path: str) -> str:
    if not isinstance(data, str) or not data:
        refuse(path, _("Expected a text, found %(found)s."), found=kind_of(data))
    if not is_clean(data):
        refuse(path, _("The text holds a character that cannot be stored."))
    if len(data) > MAX_TEXT:
        refuse(path, _("The text is longer than %(most)d characters."), most=MAX_TEXT)
    allowed = [choice.value for choice in field.choices]
    if allowed and data not in allowed:
        names = ", ".join(allowed)
        refuse(
            path,
            _("“%(value)s” is not a value of %(field)s; use one of: %(names)s."),
            value=data,
            field=field.label,
            names=names,
        )
    return data


def _period(data: object, *, path: str) -> str:
    if not isinstance(data, str) or data not in PERIODS:
        refuse(
            path,
            _("There is no period called %(found)s; use one of: %(names)s."),
            found=kind_of(data),
            names=", ".join(PERIODS),
        )
    return data


def _pattern(data: object, *, field: RuleField, path: str) -> str:
    """A pattern that compiles. Rust's regex crate has no backtracking and bounds the size of what it compiles."""
    pattern = _text(data, field=field, path=path)
    if len(pattern) > MAX_PATTERN:
        refuse(path, _("The pattern is longer than %(most)d characters."), most=MAX_PATTERN)
    try:
        pl.Series([""]).str.contains(f"(?i){pattern}")
    except pl.exceptions.PolarsError as error:
        refuse(path, _("The pattern cannot be used: %(error)s"), error=_first_cause(str(error)))
    return pattern


def _first_cause(error: str) -> str:
    """The line that says what is wrong, without the drawing around it."""
    lines = [line.strip() for line in error.split("This error occurred")[0].splitlines() if line.strip()]
    return (lines[-1] if lines else error)[:200].removeprefix("error: ")
