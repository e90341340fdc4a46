"""Rules and what they found, in plain words of the active language."""

from __future__ import annotations

from django.utils.translation import gettext as _

from segmentation.rules import events
from segmentation.rules.events import Measure
from segmentation.rules.language import Condition, Group, Node
from segmentation.rules.operators import FieldType, ValueShape
from segmentation.rules.periods import PERIODS
from segmentation.rules.words import say


def sentence(node: Node) -> str:
    """The whole rule: "Orders in 90 days is at least 3 and Country is one of France, Spain"."""
    if isinstance(node, Condition):
        return _condition(node)
    parts = [_inner(child) for child in node.children]
    if node.kind == "none":
        return _("none of these: %(conditions)s") % {"conditions": "; ".join(parts)}
    glue = _("%(first)s and %(second)s") if node.kind == "all" else _("%(first)s or %(second)s")
    text = parts[0]
    for part in parts[1:]:
        text = glue % {"first": text, "second": part}
    return text


def reason(condition: Condition, actual: object, *, as_wanted: bool, wanted: bool) -> str:
    """What was found; when it is not as wanted, also what was asked for.

    wanted: False below "none", where the condition must not hold.
    """
    field, label = condition.field, str(condition.field.label)
    if field.type is FieldType.SEGMENT:
        found = _("In segment “%(label)s”") if actual else _("Not in segment “%(label)s”")
        return found % {"label": label}
    words = {"label": label, "actual": say(field, actual)}
    if as_wanted:
        return _("%(label)s is %(actual)s") % words
    needs = str(condition.op.needs) % _values(condition)
    if wanted:
        return _("%(label)s is %(actual)s, needs %(needs)s") % {**words, "needs": needs}
    return _("%(label)s is %(actual)s, must not be %(needs)s") % {**words, "needs": needs}


def _inner(node: Node) -> str:
    return f"({sentence(node)})" if isinstance(node, Group) and len(node.children) > 1 else sentence(node)


def _condition(condition: Condition) -> str:
    query = condition.field.query
    if query is not None and query.measure is Measure.COUNT:
        needs = str(condition.op.needs) % _values(condition)
        return _("%(needs)s: %(events)s") % {"needs": needs, "events": events.phrase(query)}
    label = str(condition.field.label)
    words = str(condition.op.words) % _values(condition)
    if condition.field.type is FieldType.SEGMENT:
        return _("segment “%(label)s” %(words)s") % {"label": label, "words": words}
    return _("%(label)s %(words)s") % {"label": label, "words": words}


def _values(condition: Condition) -> dict[str, str]:
    field, value = condition.field, condition.value
    if condition.op.shape is ValueShape.DAYS and isinstance(value, float):
        return {"value": str(int(value))}
    if condition.op.shape is ValueShape.PERIOD:
        return {"value": str(PERIODS[str(value)])}
    if condition.op.shape is ValueShape.PAIR and isinstance(value, tuple):
        return {"low": say(field, value[0]), "high": say(field, value[1])}
    if isinstance(value, tuple):
        return {"value": ", ".join(say(field, item) for item in value)}
    return {"value": say(field, value)}
