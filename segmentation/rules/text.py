"""Rules as text that a person reads and writes: `from_text(to_text(node)) == node`.

    all(
      feature.orders_90d >= 3,
      any(customer.country is "France", in segment.loyal),
      count of order_placed (category in ("toys"), amount > 20, within 30 days) >= 2,
  count of viewed (product (name contains "bear", price > 20)) >= 1,
      none(attribute.birthday anniversary in next 7 days)
    )

Words of an operator are written apart ("is not empty"). `a and b`, `a or b` and `not a` are taken as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date

from segmentation.rules import language
from segmentation.rules.errors import RuleError
from segmentation.rules.event_products import Compared, ProductPick, plain_number
from segmentation.rules.events import EventQuery, Picked
from segmentation.rules.fields import RuleField
from segmentation.rules.language import Condition, Group, Node
from segmentation.rules.operators import FieldType, ValueShape
from segmentation.rules.text_parser import NAME, Parser

LINE = 100
INDENT = "  "


def to_text(node: Node) -> str:
    """The rule as text, a line for each condition where it does not fit on one."""
    return "\n".join(_lines(node, 0))


def from_text(text: str, *, fields: Mapping[str, RuleField] | None = None) -> Node:
    """Read a rule from its text. Raises RuleError; its message says the line and the column."""
    parser = Parser(text)
    data = parser.rule()
    try:
        return language.parse(data, fields=fields)
    except RuleError as error:
        raise RuleError(error.path, f"{parser.place_of(data, error.path)}: {error.message}") from error


def _lines(node: Node, depth: int) -> Iterator[str]:
    indent = INDENT * depth
    flat = _flat(node)
    if isinstance(node, Condition) or (len(indent) + len(flat) <= LINE and len(node.children) < 2):
        yield indent + flat
        return
    yield f"{indent}{node.kind}("
    for number, child in enumerate(node.children, start=1):
        *first, last = _lines(child, depth + 1)
        yield from first
        yield last if number == len(node.children) else f"{last},"
    yield f"{indent})"


def _flat(node: Node) -> str:
    if isinstance(node, Group):
        return f"{node.kind}({', '.join(_flat(child) for child in node.children)})"
    return _condition(node)


def _condition(condition: Condition) -> str:
    name = _name(condition.field.name)
    if condition.field.type is FieldType.SEGMENT:
        return f"in {name}" if condition.op.name == "in" else f"not in {name}"
    if condition.field.query is not None:
        name = _event(condition.field.query)
    words = condition.op.name.replace("_", " ")
    value = condition.value
    match condition.op.shape:
        case ValueShape.NOTHING:
            return f"{name} {words}"
        case ValueShape.DAYS:
            return f"{name} {words.removesuffix(' days')} {_scalar(value)} days"
        case ValueShape.PAIR:
            low, high = value  # type: ignore[misc, str-unpack]
            return f"{name} {words} {_scalar(low)} and {_scalar(high)}"
        case ValueShape.MANY:
            return f"{name} {words} ({', '.join(map(_scalar, value))})"  # type: ignore[arg-type]
        case _:
            return f"{name} {words} {_scalar(value)}"


def _event(query: EventQuery) -> str:
    filters = [*_picked(query.picked), *_when(query)]
    for words, follower in (("followed by", query.followed_by), ("not followed by", query.not_followed_by)):
        if follower is not None:
            inner = _picked(follower)
            filters.append(f"{words} {_kinds(follower)}" + (f" ({', '.join(inner)})" if inner else ""))
    asked = f"{query.measure} of {_kinds(query.picked)}"
    return f"{asked} ({', '.join(filters)})" if filters else asked


def _kinds(picked: Picked) -> str:
    return " or ".join(picked.kinds)


def _picked(picked: Picked) -> list[str]:
    said = []
    if picked.categories:
        said.append(f"category in ({', '.join(map(_scalar, picked.categories))})")
    said += [
        f"{name} {compared.op} {_number(compared)}"
        for name, compared in (("amount", picked.amount), ("rating", picked.rating))
        if compared is not None
    ]
    if picked.discounted is not None:
        said.append("discounted" if picked.discounted else "not discounted")
    if picked.product is not None:
        said.append(f"product ({', '.join(_product(picked.product))})")
    return said


def _product(pick: ProductPick) -> list[str]:
    said = [
        f"{name} in ({', '.join(map(_scalar, values))})"
        for name, values in (("id", pick.ids), ("category", pick.categories))
        if values
    ]
    if pick.name is not None:
        said.append(f"name {pick.name.op.replace('_', ' ')} {_scalar(pick.name.value)}")
    return said + [
        f"{name} {compared.op} {_number(compared)}"
        for name, compared in (("price", pick.price), ("quantity", pick.quantity))
        if compared is not None
    ]


def _when(query: EventQuery) -> list[str]:
    pairs = (("within {} days", query.within_days), ("older than {} days", query.older_than_days))
    said = [words.format(days) for words, days in pairs if days is not None]
    days = (("from {}", query.first_day), ("to {}", query.last_day))
    return said + [words.format(day.isoformat()) for words, day in days if day is not None]


def _number(compared: Compared) -> str:
    return json.dumps(plain_number(compared.value))


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return json.dumps(plain_number(value))
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False)


def _name(name: str) -> str:
    """As it is where it reads as one word, else between backticks."""
    return name if NAME.fullmatch(name) else f"`{name}`"
