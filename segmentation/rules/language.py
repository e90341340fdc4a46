"""The condition tree: JSON in, typed nodes out, every error at its node.

    {"all": [{"field": "feature.orders_90d", "op": ">=", "value": 3},
             {"none": [{"field": "segment.problem", "op": "in"}]}]}

A group holds under all of, any of or none of its conditions. A condition on a missing value does not hold,
whatever its operator, except "is_empty"; so "none" of a missing value holds. A number is missing when null or
not a number, a text also when empty. Texts are compared without regard to capitals, choices exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal, NoReturn, cast

from django.utils.translation import gettext as _

from segmentation.rules import fields as rule_fields
from segmentation.rules.fields import RuleField
from segmentation.rules.operators import FieldType, Operator, ValueShape, operator

MAX_DEPTH: Final = 6
MAX_CONDITIONS: Final = 100
MAX_VALUES: Final = 1000
MAX_TEXT: Final = 500
MAX_DAYS: Final = 36_500
# Above this a float no longer tells neighbouring integers apart.
MAX_NUMBER: Final = 2.0**53

Kind = Literal["all", "any", "none"]
KINDS: Final[tuple[Kind, ...]] = ("all", "any", "none")
Scalar = float | str | bool | date
Value = Scalar | tuple[Scalar, ...] | None


class RuleError(Exception):
    """A rule that cannot be used; `path` names the node ("all[1].value"), "" the whole rule."""

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(f"{path}: {message}" if path else message)


@dataclass(frozen=True)
class Condition:
    """One question. `value`: None, a scalar, a pair, many, or whole days, by the operator's shape."""

    field: RuleField
    op: Operator
    value: Value


@dataclass(frozen=True)
class Group:
    kind: Kind
    children: tuple[Node, ...]


Node = Condition | Group


def parse(data: object, *, fields: Mapping[str, RuleField] | None = None) -> Node:
    """Read a rule given as JSON values (or JSON text). Raises RuleError."""
    if isinstance(data, str | bytes):
        data = _loads(data)
    known = rule_fields.registry() if fields is None else fields
    node = _node(data, path="", depth=1, fields=known)
    count = sum(1 for _condition in conditions(node))
    if count > MAX_CONDITIONS:
        _refuse(
            "",
            _("The rule has %(count)d conditions; the most is %(most)d."),
            count=count,
            most=MAX_CONDITIONS,
        )
    return node


def to_json(node: Node) -> dict[str, Any]:
    """The canonical form: parse(to_json(node)) == node."""
    if isinstance(node, Group):
        return {node.kind: [to_json(child) for child in node.children]}
    out: dict[str, Any] = {"field": node.field.name, "op": node.op.name}
    if node.op.shape is not ValueShape.NOTHING:
        out["value"] = _plain(node.value)
    return out


def sentence(node: Node) -> str:
    """The rule in plain words, in the active language."""
    from segmentation.rules import sentences

    return sentences.sentence(node)


def conditions(node: Node) -> Iterator[Condition]:
    """Every condition of the tree, left to right."""
    if isinstance(node, Condition):
        yield node
    else:
        for child in node.children:
            yield from conditions(child)


def fields_used(node: Node) -> frozenset[str]:
    return frozenset(condition.field.name for condition in conditions(node))


def segments_used(node: Node) -> frozenset[str]:
    """Slugs of the segments that the rule refers to."""
    return frozenset(
        condition.field.name.split(".", 1)[1]
        for condition in conditions(node)
        if condition.field.type is FieldType.SEGMENT
    )


def uses_predictions(node: Node) -> bool:
    return any(condition.field.predicts for condition in conditions(node))


def _loads(text: str | bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RuleError("", _("The rule is not valid JSON: %(error)s.") % {"error": error}) from error


def _node(data: object, *, path: str, depth: int, fields: Mapping[str, RuleField]) -> Node:
    if not isinstance(data, dict):
        _refuse(path, _("Expected a condition or a group, found %(found)s."), found=_kind_of(data))
    if "field" in data or "op" in data:
        return _condition(data, path=path, fields=fields)
    if len(data) != 1 or next(iter(data)) not in KINDS:
        _refuse(
            path, _("A group has exactly one key, “all”, “any” or “none”; a condition has “field” and “op”.")
        )
    kind = cast(Kind, next(iter(data)))
    return _group(kind, data[kind], path=path, depth=depth, fields=fields)


def _group(kind: Kind, children: object, *, path: str, depth: int, fields: Mapping[str, RuleField]) -> Group:
    here = _join(path, kind)
    if not isinstance(children, list):
        _refuse(here, _("Expected a list of conditions, found %(found)s."), found=_kind_of(children))
    if not children:
        _refuse(here, _("The group is empty; add a condition or remove the group."))
    if len(children) > MAX_CONDITIONS:
        _refuse(
            here,
            _("The group has %(count)d entries; the most is %(most)d."),
            count=len(children),
            most=MAX_CONDITIONS,
        )
    if depth > MAX_DEPTH:
        _refuse(
            here,
            _("Groups are nested more than %(most)d deep; split the rule into segments."),
            most=MAX_DEPTH,
        )
    parsed = tuple(
        _node(child, path=f"{here}[{index}]", depth=depth + 1, fields=fields)
        for index, child in enumerate(children)
    )
    return Group(kind, parsed)


def _condition(data: Mapping[str, Any], *, path: str, fields: Mapping[str, RuleField]) -> Condition:
    extra = sorted(str(key) for key in set(data) - {"field", "op", "value"})
    if extra:
        _refuse(path, _("A condition has no “%(key)s”; it has “field”, “op” and “value”."), key=extra[0])
    field = fields.get(data["field"]) if isinstance(data.get("field"), str) else None
    if field is None:
        _refuse(_join(path, "field"), _("There is no field called “%(name)s”."), name=data.get("field"))
    try:
        op = operator(field.type, data.get("op", ""))
    except KeyError:
        names = ", ".join(candidate.name for candidate in field.operators)
        _refuse(
            _join(path, "op"),
            _("“%(op)s” does not fit %(field)s; use one of: %(names)s."),
            op=data.get("op"),
            field=field.label,
            names=names,
        )
    return Condition(field, op, _value(data.get("value"), field=field, op=op, path=_join(path, "value")))


def _value(data: object, *, field: RuleField, op: Operator, path: str) -> Value:
    match op.shape:
        case ValueShape.NOTHING:
            if data is not None:
                _refuse(path, _("“%(op)s” takes no value."), op=op.name)
            return None
        case ValueShape.DAYS:
            return _days(data, path=path)
        case ValueShape.PAIR:
            return _pair(data, field=field, path=path)
        case ValueShape.MANY:
            return _many(data, field=field, path=path)
        case ValueShape.ONE:
            return _scalar(data, field=field, path=path)


def _days(data: object, *, path: str) -> float:
    whole = isinstance(data, int) or (isinstance(data, float) and data.is_integer())
    if isinstance(data, bool) or not isinstance(data, int | float) or not whole:
        _refuse(path, _("Expected a whole number of days, found %(found)s."), found=_kind_of(data))
    if not 0 <= data <= MAX_DAYS:
        _refuse(path, _("The days must be from 0 to %(most)d."), most=MAX_DAYS)
    return float(data)


def _pair(data: object, *, field: RuleField, path: str) -> tuple[Scalar, Scalar]:
    if not isinstance(data, list | tuple) or len(data) != 2:
        _refuse(path, _("“between” needs a list of two values, the lower and the upper."))
    low, high = (_scalar(item, field=field, path=f"{path}[{i}]") for i, item in enumerate(data))
    if low > high:  # type: ignore[operator]  # both are numbers or both are dates
        _refuse(path, _("The lower value is above the upper value."))
    return low, high


def _many(data: object, *, field: RuleField, path: str) -> tuple[Scalar, ...]:
    if not isinstance(data, list | tuple) or not data:
        _refuse(path, _("Expected a list with at least one value, found %(found)s."), found=_kind_of(data))
    if len(data) > MAX_VALUES:
        _refuse(
            path, _("The list has %(count)d values; the most is %(most)d."), count=len(data), most=MAX_VALUES
        )
    return tuple(_scalar(item, field=field, path=f"{path}[{i}]") for i, item in enumerate(data))


def _scalar(data: object, *, field: RuleField, path: str) -> Scalar:
    match field.type:
        case FieldType.NUMBER:
            return _number(data, path=path)
        case FieldType.BOOLEAN:
            if not isinstance(data, bool):
                _refuse(path, _("Expected true or false, found %(found)s."), found=_kind_of(data))
            return data
        case FieldType.DATE:
            return _date(data, path=path)
        case _:
            return _text(data, field=field, path=path)


def _number(data: object, *, path: str) -> float:
    if isinstance(data, bool) or not isinstance(data, int | float) or data != data:
        _refuse(path, _("Expected a number, found %(found)s."), found=_kind_of(data))
    if not -MAX_NUMBER <= data <= MAX_NUMBER:
        _refuse(path, _("The number is too large."))
    return float(data)


def _date(data: object, *, path: str) -> date:
    try:
        # fromisoformat also takes week dates; only the plain form is promised.
        if isinstance(data, str) and len(data) == 10 and data[4] == data[7] == "-":
            return date.fromisoformat(data)
    except ValueError:
        pass
    return _refuse(path, _("Expected a date such as 2024-02-29, found %(found)s."), found=_kind_of(data))


def _text(data: object, *, field: RuleField, path: str) -> str:
    if not isinstance(data, str) or not data:
        _refuse(path, _("Expected a text, found %(found)s."), found=_kind_of(data))
    if len(data) > MAX_TEXT:
        _refuse(path, _("The text is longer than %(most)d characters."), most=MAX_TEXT)
    allowed = [choice.value for choice in field.choices]
    if allowed and data not in allowed:
        names = ", ".join(allowed)
        _refuse(
            path,
            _("“%(value)s” is not a value of %(field)s; use one of: %(names)s."),
            value=data,
            field=field.label,
            names=names,
        )
    return data


def _plain(value: Value) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _join(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part


def _kind_of(data: object) -> str:
    """The found value in a few words, never a long text in full."""
    if data is None:
        return _("nothing")
    if isinstance(data, dict):
        return _("an object")
    if isinstance(data, list | tuple):
        return _("a list")
    text = str(data)
    return f"“{text[:40]}…”" if len(text) > 40 else f"“{text}”"


def _refuse(path: str, message: str, **words: object) -> NoReturn:
    raise RuleError(path, message % words)
