"""Rules in words, and how a segment's rule changed from version to version."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from segmentation.models import Segment, SegmentVersion
from segmentation.rules import fields as rule_fields
from segmentation.rules import language
from segmentation.rules.fields import RuleField
from segmentation.rules.language import Condition, Node
from segmentation.rules.sentences import sentence

VERSIONS_SHOWN = 20


@dataclass(frozen=True)
class VersionView:
    """`changes`: lines of the rule with "+", "-" or " " before each."""

    version: SegmentVersion
    sentence: str
    changes: tuple[tuple[str, str], ...]


def reader(fields: Mapping[str, RuleField] | None = None) -> Callable[[Any], str]:
    """A function from stored rules to sentences; reads the fields once."""
    known = rule_fields.registry() if fields is None else fields

    def read(rule: Any) -> str:
        try:
            return sentence(language.parse(rule, fields=known))
        except language.RuleError as error:
            return _("cannot be read: %(error)s") % {"error": error.message}

    return read


def history(segment: Segment) -> list[VersionView]:
    """Newest first, each with what changed from the one before."""
    known = rule_fields.registry()
    read = reader(known)
    versions = list(segment.versions.select_related("created_by").order_by("-number")[: VERSIONS_SHOWN + 1])
    older = [*(_lines(version.rule, known) for version in versions[1:]), []]
    shown = zip(versions, older, strict=True)
    return [
        VersionView(version, read(version.rule), tuple(_changes(before, _lines(version.rule, known))))
        for version, before in list(shown)[:VERSIONS_SHOWN]
    ]


def _changes(before: list[str], after: list[str]) -> list[tuple[str, str]]:
    if not before:
        return []
    return [(line[0], line[2:]) for line in difflib.ndiff(before, after) if line[0] in "+- "]


def _lines(rule: Any, fields: Mapping[str, RuleField]) -> list[str]:
    """The rule one condition a line, indented by depth."""
    try:
        return list(_node_lines(language.parse(rule, fields=fields), 0))
    except language.RuleError:
        return [str(rule)]


def _node_lines(node: Node, depth: int) -> list[str]:
    indent = "\u2003" * depth
    if isinstance(node, Condition):
        return [indent + sentence(node)]
    titles = {"all": _("All of these hold"), "any": _("Any of these holds"), "none": _("None of these holds")}
    lines = [indent + titles[node.kind]]
    for child in node.children:
        lines += _node_lines(child, depth + 1)
    return lines
