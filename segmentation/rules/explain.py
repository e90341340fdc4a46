"""The same leaves on one customer: every condition with what it wants, what it found, and whether it holds.

A second, independent reading of the operators in plain Python; a property test holds it to rules/compile.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import polars as pl

from segmentation.rules import periods
from segmentation.rules.language import Condition, Kind, Node, Value
from segmentation.rules.operators import FieldType
from segmentation.rules.sentences import reason, sentence


@dataclass(frozen=True)
class ConditionVerdict:
    """`actual` is the value found (None: missing); `sentence` says the condition, `reason` what was found."""

    field: str
    label: str
    op: str
    value: Value
    actual: object
    holds: bool
    sentence: str
    reason: str


@dataclass(frozen=True)
class GroupVerdict:
    kind: Kind
    holds: bool
    children: tuple[ConditionVerdict | GroupVerdict, ...]


Verdict = ConditionVerdict | GroupVerdict


@dataclass(frozen=True)
class Explained:
    holds: bool
    tree: Verdict

    def settling(self) -> tuple[ConditionVerdict, ...]:
        """Only the conditions that settle the answer, left to right."""
        return tuple(_settling(self.tree))

    def reasons(self) -> tuple[str, ...]:
        """Why it holds or not, in sentences."""
        return tuple(dict.fromkeys(leaf.reason for leaf in self.settling()))

    def conditions(self) -> Iterator[ConditionVerdict]:
        yield from _leaves(self.tree)


def explain(node: Node, row: Mapping[str, Any], *, today: date) -> Explained:
    """Evaluate the rule on one row of a decision frame, given as a mapping of column to value."""
    tree = _verdict(node, row, today, True)
    return Explained(holds=tree.holds, tree=tree)


def holds(condition: Condition, actual: object, *, today: date) -> bool:
    """Whether one condition holds for a value (already cleaned by `clean`)."""
    name = condition.op.name
    if name == "is_empty":
        return actual is None
    if actual is None:
        return False
    if name == "is_not_empty":
        return True
    return TESTS[condition.field.type][name](actual, condition.value, today)


def clean(condition: Condition, raw: object) -> Any:
    """The value in the type of its field; None when missing. Nobody is in a segment that is not given."""
    kind = condition.field.type
    if kind is FieldType.SEGMENT:
        return bool(raw)
    if raw is None or raw == "" or (isinstance(raw, float) and raw != raw):
        return None
    if kind is FieldType.NUMBER:
        return float(raw)  # type: ignore[arg-type]
    if kind is FieldType.BOOLEAN:
        return bool(raw)
    if kind is FieldType.DATE:
        return _as_date(raw)
    if kind is FieldType.TAGS:
        return [str(tag) for tag in raw]  # type: ignore[attr-defined]
    return str(raw)


def _as_date(raw: object) -> date | None:
    if isinstance(raw, str):
        raw = datetime.fromisoformat(raw)
    if isinstance(raw, datetime):
        return raw.astimezone(UTC).date() if raw.tzinfo else raw.date()
    return raw if isinstance(raw, date) else None


def _verdict(node: Node, row: Mapping[str, Any], today: date, wanted: bool) -> Verdict:
    if isinstance(node, Condition):
        return _condition_verdict(node, row, today, wanted)
    inner = wanted if node.kind != "none" else not wanted
    children = tuple(_verdict(child, row, today, inner) for child in node.children)
    answers = [child.holds for child in children]
    group_holds = {"all": all(answers), "any": any(answers), "none": not any(answers)}[node.kind]
    return GroupVerdict(node.kind, group_holds, children)


def _condition_verdict(
    condition: Condition, row: Mapping[str, Any], today: date, wanted: bool
) -> ConditionVerdict:
    actual = clean(condition, row.get(condition.field.name))
    answer = holds(condition, actual, today=today)
    return ConditionVerdict(
        field=condition.field.name,
        label=str(condition.field.label),
        op=condition.op.name,
        value=condition.value,
        actual=actual,
        holds=answer,
        sentence=sentence(condition),
        reason=reason(condition, actual, as_wanted=answer == wanted, wanted=wanted),
    )


def _settling(tree: Verdict) -> Iterator[ConditionVerdict]:
    """The leaves that make `tree` what it is."""
    if isinstance(tree, ConditionVerdict):
        yield tree
        return
    # What settles "any" and a refused "none" is a child that holds; "all" when refused, one that does not.
    decisive = tree.holds if tree.kind != "none" else not tree.holds
    for child in tree.children:
        if child.holds == decisive:
            yield from _settling(child)


def _leaves(tree: Verdict) -> Iterator[ConditionVerdict]:
    if isinstance(tree, ConditionVerdict):
        yield tree
    else:
        for child in tree.children:
            yield from _leaves(child)


def _lower(value: Any) -> Any:
    return tuple(item.lower() for item in value) if isinstance(value, tuple) else value.lower()


def _ago(today: date, days: float) -> date:
    return today - timedelta(days=int(days))


def _in_period(day: date, period: str, today: date) -> bool:
    first, last = periods.days_of(period, today)
    return first <= day <= last


def _comes_round(day: date, first: date, last: date) -> bool:
    return periods.month_day(day) in periods.anniversaries(first, last)


def _matches(text: str, pattern: str) -> bool:
    """By the frame's own engine: a pattern means the same here as there."""
    return bool(pl.Series([text.lower()]).str.contains(f"(?i){pattern}")[0])


Test = Callable[[Any, Any, date], bool]
_BETWEEN: Final[Test] = lambda actual, given, today: given[0] <= actual <= given[1]  # noqa: E731
_ONE_OF: Final[dict[str, Test]] = {
    "is": lambda actual, given, today: actual == given,
    "is_not": lambda actual, given, today: actual != given,
    "in": lambda actual, given, today: actual in given,
    "not_in": lambda actual, given, today: actual not in given,
}


def _ignoring_case(test: Test) -> Test:
    return lambda actual, given, today: test(actual.lower(), _lower(given), today)


TESTS: Final[dict[FieldType, dict[str, Test]]] = {
    FieldType.NUMBER: {
        "=": lambda actual, given, today: actual == given,
        "!=": lambda actual, given, today: actual != given,
        ">": lambda actual, given, today: actual > given,
        ">=": lambda actual, given, today: actual >= given,
        "<": lambda actual, given, today: actual < given,
        "<=": lambda actual, given, today: actual <= given,
        "between": _BETWEEN,
        "not_between": lambda actual, given, today: not given[0] <= actual <= given[1],
        "in": lambda actual, given, today: actual in given,
        "not_in": lambda actual, given, today: actual not in given,
    },
    FieldType.TEXT: {
        name: _ignoring_case(test)
        for name, test in {
            **_ONE_OF,
            "contains": lambda actual, given, today: given in actual,
            "not_contains": lambda actual, given, today: given not in actual,
            "starts_with": lambda actual, given, today: actual.startswith(given),
            "ends_with": lambda actual, given, today: actual.endswith(given),
        }.items()
    }
    | {
        "matches": lambda actual, given, today: _matches(actual, given),
        "not_matches": lambda actual, given, today: not _matches(actual, given),
    },
    FieldType.CHOICE: _ONE_OF,
    FieldType.BOOLEAN: {"is": lambda actual, given, today: actual is given},
    FieldType.DATE: {
        "on": lambda actual, given, today: actual == given,
        "before": lambda actual, given, today: actual < given,
        "after": lambda actual, given, today: actual > given,
        "on_or_before": lambda actual, given, today: actual <= given,
        "on_or_after": lambda actual, given, today: actual >= given,
        "between": _BETWEEN,
        "in_period": _in_period,
        "not_in_period": lambda actual, given, today: not _in_period(actual, given, today),
        "anniversary_in_next_days": lambda actual, given, today: _comes_round(
            actual, today, _ago(today, -given)
        ),
        "anniversary_in_last_days": lambda actual, given, today: _comes_round(
            actual, _ago(today, given), today
        ),
        "anniversary_in_period": lambda actual, given, today: _comes_round(
            actual, *periods.days_of(given, today)
        ),
        "within_days": lambda actual, given, today: _ago(today, given) <= actual <= today,
        "older_than_days": lambda actual, given, today: actual < _ago(today, given),
        "in_next_days": lambda actual, given, today: today <= actual <= _ago(today, -given),
    },
    FieldType.TAGS: {
        "any_of": lambda actual, given, today: any(tag in actual for tag in given),
        "all_of": lambda actual, given, today: all(tag in actual for tag in given),
        "none_of": lambda actual, given, today: not any(tag in actual for tag in given),
    },
    FieldType.SEGMENT: {
        "in": lambda actual, given, today: actual,
        "not_in": lambda actual, given, today: not actual,
    },
}
