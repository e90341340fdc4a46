"""Rules in words, and how a segment's rule changed from version to version."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation.models import ListEntry, Segment, SegmentVersion
from segmentation.rules import event_products, language
from segmentation.rules import fields as rule_fields
from segmentation.rules.fields import RuleField
from segmentation.rules.language import Condition, Node
from segmentation.rules.sentences import sentence

VERSIONS_SHOWN = 20
ENTRIES_SHOWN = 50


@dataclass(frozen=True)
class VersionView:
    """`changes`: lines of the rule with "+", "-" or " " before each."""

    version: SegmentVersion
    sentence: str
    changes: tuple[tuple[str, str], ...]
    can_be_restored: bool


@dataclass(frozen=True)
class Entries:
    """Customers put in and taken out by hand: how many, and the newest of them."""

    put_in: int
    taken_out: int
    newest: tuple[ListEntry, ...]


def entries(segment: Segment) -> Entries:
    if not segment.has_entries:
        return Entries(0, 0, ())
    rows = ListEntry.objects.filter(segment=segment)
    newest = rows.select_related("customer", "created_by").order_by("-pk")[:ENTRIES_SHOWN]
    return Entries(rows.filter(is_member=True).count(), rows.filter(is_member=False).count(), tuple(newest))


def uses(segment: Segment) -> tuple[Segment, ...]:
    """Segments that its rule refers to."""
    if segment.version is None:
        return ()
    names = language.names_in(segment.version.rule)
    slugs = [name.removeprefix("segment.") for name in names if name.startswith("segment.")]
    return tuple(Segment.objects.filter(slug__in=slugs).order_by("name"))


def age(segment: Segment) -> str:
    """How long ago the members were worked out."""
    if segment.refreshed_at is None:
        return _("never since the last change")
    hours = int((timezone.now() - segment.refreshed_at).total_seconds() // 3600)
    return _("not refreshed for %(hours)d hours") % {"hours": hours}


def reader(
    fields: Mapping[str, RuleField] | None = None, *, rules: Iterable[Any] = ()
) -> Callable[[Any], str]:
    """A function from stored rules to sentences; reads the fields once, and the products of these rules at once."""
    known = rule_fields.registry() if fields is None else fields
    sold = event_products.named(sorted(event_products.ids_in(list(rules))))

    def read(rule: Any) -> str:
        try:
            with event_products.knowing(sold):
                return sentence(language.parse(rule, fields=known))
        except language.RuleError as error:
            return _("cannot be read: %(error)s") % {"error": error.message}

    return read


def history(segment: Segment) -> list[VersionView]:
    """Newest first, each with what changed from the one before."""
    known = rule_fields.registry()
    versions = list(segment.versions.select_related("created_by").order_by("-number")[: VERSIONS_SHOWN + 1])
    rules = [version.rule for version in versions]
    read = reader(known, rules=rules)
    with event_products.knowing(event_products.named(sorted(event_products.ids_in(rules)))):
        lines = [_lines(rule, known) for rule in rules]
    return [
        VersionView(
            version,
            read(version.rule),
            tuple(_changes(before, own)),
            version.pk != segment.version_id and segment.kind != Segment.Kind.LIST,
        )
        for version, (own, before) in list(zip(versions, pairwise([*lines, []]), strict=True))[
            :VERSIONS_SHOWN
        ]
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
