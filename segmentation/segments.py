"""Segments as definitions: save a rule as a new version, what uses what, and when a segment may go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from segmentation import alerts, in_force
from segmentation.jobs import Job, enqueue
from segmentation.models import (
    AuditEntry,
    Campaign,
    CampaignRule,
    Segment,
    SegmentVersion,
    ServicePriorityRule,
)
from segmentation.rules import fields as rule_fields
from segmentation.rules import language
from segmentation.rules.fields import RuleField
from segmentation.rules.language import Condition, Group, Node, RuleError
from segmentation.rules.operators import FieldType, operator

log = structlog.get_logger(__name__)


class SegmentInUse(Exception):
    """The segment cannot go or rest; `users` names what refers to it."""

    def __init__(self, segment: Segment, users: tuple[str, ...]) -> None:
        self.users = users
        super().__init__(
            _("“%(segment)s” is used by %(users)s. Change those first.")
            % {"segment": segment.name, "users": ", ".join(users)}
        )


class EditedMeanwhile(Exception):
    """Somebody else saved the segment's rule after this person had opened it; nothing was saved."""

    def __init__(self, version: SegmentVersion) -> None:
        self.version = version
        super().__init__(
            _(
                "%(who)s saved version %(number)d of this rule while you were editing. Your rule was not saved."
            )
            % {"who": version.created_by or _("Somebody"), "number": version.number}
        )


@dataclass(frozen=True)
class Definition:
    """A segment ready to be evaluated. `predicts`: it uses predictions, itself or through other segments."""

    id: int
    slug: str
    name: str
    node: Node
    depends_on: frozenset[str]
    predicts: bool

    @property
    def column(self) -> str:
        return f"segment.{self.slug}"


def validate(rule: object, *, slug: str, fields: Mapping[str, RuleField] | None = None) -> Node:
    """Read a rule for the segment called `slug`. Raises RuleError, also when segments would refer in a circle."""
    node = language.parse(rule, fields=fields)
    used = language.segments_used(node)
    if slug in used:
        raise RuleError("", _("The segment refers to itself."))
    graph = _graph() | {slug: used}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = " → ".join(str(name) for name in error.args[1])
        raise RuleError(
            "", _("The segments refer to each other in a circle: %(circle)s.") % {"circle": circle}
        ) from error
    return node


def save_rule(
    segment: Segment,
    rule: object,
    *,
    by: Any = None,
    opened: int | None = None,
    restores: int | None = None,
) -> SegmentVersion:
    """Store the rule as the segment's new version and have its members refreshed; unchanged rules add nothing.

    opened: the number of the version that the person edited; another one by now raises EditedMeanwhile.
    restores: the number of the older version that this is. Raises RuleError.
    """
    with transaction.atomic():
        locked = dict(Segment.objects.select_for_update().order_by("pk").values_list("pk", "version"))
        node = validate(rule, slug=segment.slug)
        canonical = language.to_json(node)
        number = locked.get(segment.pk)
        versions = SegmentVersion.objects.select_related("created_by")
        current = versions.filter(pk=number).first() if number else None
        if current is not None and current.rule == canonical:
            return current
        if opened is not None and current is not None and current.number != opened:
            raise EditedMeanwhile(current)
        newest = segment.versions.aggregate(newest=Max("number"))["newest"] or 0
        author = by if getattr(by, "is_authenticated", False) else None
        version = SegmentVersion.objects.create(
            segment=segment, number=newest + 1, rule=canonical, created_by=author, restores=restores
        )
        segment.version, segment.refreshed_at, segment.kind = version, None, _kind_of(segment, node)
        segment.save(update_fields=["version", "refreshed_at", "kind"])
        alerts.resolve(_alert_key(segment.slug))
        detail = {"before": current.number if current is not None else None, "version": version.number} | (
            {"restores": restores} if restores else {}
        )
        AuditEntry.record("segment.rule_saved", segment, actor=by, **detail)
        enqueue(Job.REFRESH_SEGMENT, segment_id=segment.pk)
        return version


def _kind_of(segment: Segment, node: Node) -> str:
    """A rule that uses predictions, itself or through another segment, makes a segment of the model."""
    if segment.kind == Segment.Kind.LIST:
        return segment.kind
    named = Segment.objects.filter(slug__in=language.segments_used(node), kind=Segment.Kind.MODEL)
    predicts = language.uses_predictions(node) or named.exists()
    return Segment.Kind.MODEL if predicts else Segment.Kind.RULE


def restore(segment: Segment, number: int, *, by: Any = None) -> SegmentVersion:
    """Make an older version's rule the newest version. Raises RuleError when it can no longer be used."""
    old = segment.versions.get(number=number)
    return save_rule(segment, old.rule, by=by, restores=old.number)


def list_rule(slug: str) -> dict[str, Any]:
    """The rule of a list that is kept by hand."""
    return {"field": f"{rule_fields.LISTED}{slug}", "op": "is", "value": True}


def set_active(segment: Segment, active: bool, *, by: Any = None) -> None:
    """Switch a segment on or off; a resting segment has no members. Raises SegmentInUse."""
    with transaction.atomic():
        if not active:
            _refuse_when_used(segment)
        if segment.is_active == active:
            return
        segment.is_active, segment.refreshed_at = active, None
        segment.save(update_fields=["is_active", "refreshed_at"])
        AuditEntry.record("segment.switched", segment, actor=by, active=active)
        enqueue(Job.REFRESH_SEGMENT, segment_id=segment.pk)


def delete(segment: Segment, *, by: Any = None) -> None:
    """Delete a segment nobody refers to, with its members and history. Raises SegmentInUse."""
    with transaction.atomic():
        # Waits for who is writing members, and lets nobody write more (see locks.hold).
        Segment.objects.select_for_update().get(pk=segment.pk)
        _refuse_when_used(segment)
        AuditEntry.record("segment.deleted", segment, actor=by, slug=segment.slug)
        Segment.objects.filter(pk=segment.pk).update(version=None)
        segment.delete()


def users_of(segment: Segment) -> tuple[str, ...]:
    """What refers to the segment, in words: segments, campaigns, priority rules."""
    others = [
        _("segment “%(name)s”") % {"name": other.name}
        for other in _segments_with_rules()
        if other.version is not None and segment.slug in _mentions(other.version.rule)
    ]
    rules = CampaignRule.objects.exclude(campaign__status=Campaign.Status.ENDED).select_related(
        "campaign", "segment"
    )
    campaigns = {
        rule.campaign.name: None for rule in rules if _refers(rule.segment_id, rule.condition, segment)
    }
    ended = CampaignRule.objects.filter(
        campaign__status=Campaign.Status.ENDED, segment=segment
    ).select_related("campaign")
    campaigns |= {rule.campaign.name: None for rule in ended}
    campaigns |= dict.fromkeys(segment.triggered_campaigns.values_list("name", flat=True))
    priorities = [
        _("priority rule “%(name)s”") % {"name": rule.name}
        for rule in ServicePriorityRule.objects.all()
        if _refers(rule.segment_id, rule.condition, segment)
    ]
    return (*others, *(_("campaign “%(name)s”") % {"name": name} for name in campaigns), *priorities)


def definitions(
    slugs: Iterable[str] | None = None, *, fields: Mapping[str, RuleField] | None = None
) -> tuple[Definition, ...]:
    """Active segments (or those named, with all they refer to), each after the ones it refers to.

    A segment whose rule can no longer be read (a column was removed) is left out and raises an alert.
    """
    found = in_force.kept("segments", _defined) if fields is None else _defined(fields)[0]
    return tuple(found.values()) if slugs is None else _needed(found, slugs)


def with_draft(segment: Segment) -> tuple[Definition, ...]:
    """Active segments and this one after them, though it rests. Raises RuleError."""
    found = definitions()
    if segment.version is None or any(one.slug == segment.slug for one in found):
        return found
    node = language.parse(segment.version.rule)
    whole = _with_entries(node, segment.slug) if segment.has_entries else node
    used = language.segments_used(node) & {one.slug for one in found}
    draft = Definition(segment.pk, segment.slug, segment.name, whole, used, predicts(node, found))
    return (*found, draft)


def predicts(node: Node, definitions: Iterable[Definition]) -> bool:
    """Whether a rule uses predictions, itself or through the segments it refers to (among `definitions`)."""
    named = language.segments_used(node)
    return language.uses_predictions(node) or any(d.predicts for d in definitions if d.slug in named)


def dependents(slug: str, definitions: Iterable[Definition]) -> frozenset[str]:
    """The segment itself and all that refer to it, directly or not (`definitions` in their order)."""
    reached = {slug}
    for definition in definitions:
        if definition.depends_on & reached:
            reached.add(definition.slug)
    return frozenset(reached)


def _defined(fields: Mapping[str, RuleField] | None = None) -> tuple[dict[str, Definition], bool]:
    """Active segments by slug, each after the ones it refers to, and whether every rule could be read."""
    known = rule_fields.registry() if fields is None else fields
    stored = list(_segments_with_rules().filter(is_active=True))
    read = {segment.slug: (segment, _readable(segment, known)) for segment in stored}
    nodes = {slug: (segment, node) for slug, (segment, node) in read.items() if node is not None}
    graph = {slug: language.segments_used(node) & nodes.keys() for slug, (_segment, node) in nodes.items()}
    order = [slug for slug in TopologicalSorter(_sorted(graph)).static_order() if slug in nodes]
    found: dict[str, Definition] = {}
    for slug in order:
        segment, node = nodes[slug]
        predicts = language.uses_predictions(node) or any(found[used].predicts for used in graph[slug])
        whole = _with_entries(node, slug) if segment.has_entries else node
        found[slug] = Definition(segment.pk, slug, segment.name, whole, frozenset(graph[slug]), predicts)
    return found, len(nodes) == len(stored)


def _with_entries(node: Node, slug: str) -> Node:
    """The rule, or put in by hand, and not taken out by hand."""
    name = f"{rule_fields.LISTED}{slug}"
    field = rule_fields.derived(name)
    if field is None or name in language.fields_used(node):
        return node
    put_in, taken_out = (
        Condition(field, operator(FieldType.BOOLEAN, "is"), answer) for answer in (True, False)
    )
    return Group("all", (Group("any", (node, put_in)), Group("none", (taken_out,))))


def _needed(found: Mapping[str, Definition], slugs: Iterable[str]) -> tuple[Definition, ...]:
    wanted: set[str] = set()
    waiting = [slug for slug in slugs if slug in found]
    while waiting:
        slug = waiting.pop()
        if slug not in wanted:
            wanted.add(slug)
            waiting.extend(found[slug].depends_on)
    return tuple(definition for slug, definition in found.items() if slug in wanted)


def _readable(segment: Segment, fields: Mapping[str, RuleField]) -> Node | None:
    if segment.version is None:
        return None
    try:
        return language.parse(segment.version.rule, fields=fields)
    except RuleError as error:
        log.warning("segment.unreadable", segment=segment.slug, path=error.path)
        alerts.raise_once(
            _alert_key(segment.slug),
            _("The rule of segment “%(name)s” can no longer be read: %(error)s Edit the segment.")
            % {"name": segment.name, "error": error.message},
        )
        return None


def _alert_key(slug: str) -> str:
    return f"segment.unreadable.{slug}"


def _segments_with_rules() -> Any:
    return Segment.objects.filter(version__isnull=False).select_related("version").order_by("slug")


def _graph() -> dict[str, frozenset[str]]:
    return {
        segment.slug: frozenset(_mentions(segment.version.rule))
        for segment in _segments_with_rules()
        if segment.version is not None
    }


def _sorted(graph: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """A fixed order, so that the same rules always make the same policy."""
    return {slug: sorted(graph[slug]) for slug in sorted(graph)}


def _mentions(rule: object) -> set[str]:
    """Slugs of segments in stored JSON, without needing its fields to exist."""
    names = language.names_in(rule)
    return {name.removeprefix("segment.") for name in names if name.startswith("segment.")}


def _refers(segment_id: int | None, condition: object, segment: Segment) -> bool:
    return segment_id == segment.pk or segment.slug in _mentions(condition)


def _refuse_when_used(segment: Segment) -> None:
    users = users_of(segment)
    if users:
        raise SegmentInUse(segment, users)
