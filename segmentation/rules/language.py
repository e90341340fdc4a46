"""The condition tree: JSON in, typed nodes out, every error at its node.

    {"all": [{"field": "feature.orders_90d", "op": ">=", "value": 3},
             {"none": [{"field": "segment.problem", "op": "in"}]}]}

A group holds under all of, any of or none of its conditions. A condition on a missing value does not hold,
whatever its operator, except "is_empty"; so "none" of a missing value holds. A number is missing when null or
not a number, a text also when empty. Texts are compared without regard to capitals, choices exactly.

In place of "field" a condition may have "event", a question about what the customer did (rules/events.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal, cast

from django.utils.translation import gettext as _

from segmentation.rules import event_products, event_values, events, values
from segmentation.rules import fields as rule_fields
from segmentation.rules.errors import RuleError, join, kind_of, refuse
from segmentation.rules.fields import RuleField
from segmentation.rules.operators import FieldType, Operator, ValueShape, operator
from segmentation.rules.values import Value

__all__ = ["Condition", "Group", "Kind", "Node", "RuleError", "Value", "parse", "to_json"]

MAX_DEPTH: Final = 6
MAX_CONDITIONS: Final = 100

Kind = Literal["all", "any", "none"]
KINDS: Final[tuple[Kind, ...]] = ("all", "any", "none")


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


def parse(data: object, *, fields: Mapping[str, RuleField] | None = None, stored: bool = False) -> Node:
    """Read a rule given as JSON values (or JSON text). Raises RuleError.

    stored: it was put together from rules that were read before, so it may be deeper than what a person writes.
    """
    if isinstance(data, str | bytes):
        data = _loads(data)
    known = rule_fields.registry() if fields is None else fields
    node = _node(data, path="", depth=1 - MAX_DEPTH if stored else 1, fields=known)
    count = sum(1 for _condition in conditions(node))
    if count > MAX_CONDITIONS:
        refuse(
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
    query = node.field.query
    asked = {"field": node.field.name} if query is None else {"event": events.to_json(query)}
    out: dict[str, Any] = {**asked, "op": node.op.name}
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


def names_in(rule: object) -> set[str]:
    """Names of the fields in stored JSON, without needing the fields to exist."""
    if isinstance(rule, list):
        return set().union(*map(names_in, rule)) if rule else set()
    if not isinstance(rule, dict):
        return set()
    if isinstance(rule.get("field"), str):
        return {rule["field"]}
    if isinstance(rule.get("event"), dict):
        try:
            return {event_values.read(rule["event"], path="", sold=None).name}
        except RuleError:
            return set()
    return set().union(*map(names_in, rule.values())) if rule else set()


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
        refuse(path, _("Expected a condition or a group, found %(found)s."), found=kind_of(data))
    if "field" in data or "op" in data or "event" in data:
        return _condition(data, path=path, fields=fields)
    if len(data) != 1 or next(iter(data)) not in KINDS:
        refuse(
            path, _("A group has exactly one key, “all”, “any” or “none”; a condition has “field” and “op”.")
        )
    kind = cast(Kind, next(iter(data)))
    return _group(kind, data[kind], path=path, depth=depth, fields=fields)


def _group(kind: Kind, children: object, *, path: str, depth: int, fields: Mapping[str, RuleField]) -> Group:
    here = join(path, kind)
    if not isinstance(children, list):
        refuse(here, _("Expected a list of conditions, found %(found)s."), found=kind_of(children))
    if not children:
        refuse(here, _("The group is empty; add a condition or remove the group."))
    if len(children) > MAX_CONDITIONS:
        refuse(
            here,
            _("The group has %(count)d entries; the most is %(most)d."),
            count=len(children),
            most=MAX_CONDITIONS,
        )
    if depth > MAX_DEPTH:
        refuse(
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
    asks = "event" if "event" in data else "field"
    extra = sorted(str(key) for key in set(data) - {asks, "op", "value"})
    if extra:
        refuse(
            path,
            _("A condition has no “%(key)s”; it has “%(asks)s”, “op” and “value”."),
            key=extra[0],
            asks=asks,
        )
    field = (
        _event(data, path=path, fields=fields) if asks == "event" else _field(data, path=path, fields=fields)
    )
    try:
        op = operator(field.type, data.get("op", ""))
    except (KeyError, TypeError):
        names = ", ".join(candidate.name for candidate in field.operators)
        refuse(
            join(path, "op"),
            _("“%(op)s” does not fit %(field)s; use one of: %(names)s."),
            op=data.get("op"),
            field=field.label,
            names=names,
        )
    value = values.read(data.get("value"), field=field, op=op, path=join(path, "value"))
    return Condition(field, op, value)


def _field(data: Mapping[str, Any], *, path: str, fields: Mapping[str, RuleField]) -> RuleField:
    name = data.get("field")
    field = rule_fields.find(fields, name) if isinstance(name, str) else None
    if field is None or field.name == rule_fields.CATEGORY:
        refuse(join(path, "field"), _("There is no field called “%(name)s”."), name=name)
    return field


def _event(data: Mapping[str, Any], *, path: str, fields: Mapping[str, RuleField]) -> RuleField:
    """The question about events as a field. Categories and products are the shop's, where the fields tell them."""
    known = fields.get(rule_fields.CATEGORY)
    sold = None
    if known is not None:
        categories = frozenset(choice.value for choice in known.choices)
        sold = event_values.Sold(categories, event_products.named)
    query = event_values.read(data["event"], path=join(path, "event"), sold=sold)
    return rule_fields.of_events(query, choices=known.choices if known else ())


def _plain(value: Value) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
