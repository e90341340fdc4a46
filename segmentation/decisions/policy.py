"""What is in force: campaigns with rules and offers, priority rules, holdouts, as one canonical hashed document.

The document holds everything a decision depends on besides the customer, with the fields it asks about, so an old
decision can be explained after campaigns, segments or columns have changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, Final

import orjson
import polars as pl
from django.utils.translation import gettext as _
from django.utils.translation import override

from segmentation import alerts, bulk, campaigns, holdouts, in_force, segments, uplift_fields
from segmentation.decisions import terms
from segmentation.decisions.terms import CampaignTerms, Cap, OfferTerms, Worth
from segmentation.holdouts import Draw
from segmentation.models import (
    Campaign,
    CampaignRule,
    FrequencyCap,
    PolicyVersion,
    Segment,
    ServicePriorityRule,
)
from segmentation.rules import fields as rule_fields
from segmentation.rules import language
from segmentation.rules.fields import Choice, RuleField
from segmentation.rules.language import Group, Node, RuleError
from segmentation.rules.operators import FieldType
from segmentation.segments import Definition
from segmentation.uplift_fields import Fields

FORMAT: Final = 2
# Read by every decision, whatever the rules ask.
ALWAYS_USED: Final = ("consent.marketing", "customer.is_profiled")


@dataclass(frozen=True)
class Candidate:
    """A campaign rule. `node` None: its rule cannot be read and nobody fits."""

    rule_id: int
    name: str
    campaign: CampaignTerms
    offer: OfferTerms
    node: Node | None
    predicts: bool
    worth: Worth = field(default_factory=Worth)


@dataclass(frozen=True)
class PriorityCandidate:
    """A service-priority rule; `node` as for a Candidate."""

    rule_id: int
    name: str
    level: int
    node: Node | None
    predicts: bool
    is_promise: bool = False
    respects_holdout: bool = False
    expires_days: int | None = None


@dataclass(frozen=True)
class Policy:
    """Candidates in the order in which they win; priority rules in the order in which they are asked."""

    content: Mapping[str, Any]
    sha256: str
    candidates: tuple[Candidate, ...]
    priorities: tuple[PriorityCandidate, ...]
    global_draw: Draw | None
    definitions: tuple[Definition, ...]
    fields_used: frozenset[str]
    caps: tuple[Cap, ...] = ()

    @cached_property
    def counted(self) -> frozenset[int]:
        """Campaigns whose offers are written down one by one, because something is counted by them."""
        return frozenset(
            candidate.campaign.id
            for candidate in self.candidates
            if candidate.campaign.needs_counting
            or candidate.offer.needs_counting
            or any(cap.covers(candidate.campaign) for cap in self.caps)
        )

    @cached_property
    def places(self) -> pl.DataFrame:
        """campaign_id, offer_id, place: where the candidates stand that give an offer for a campaign."""
        rows = [(c.campaign.id, c.offer.id, place) for place, c in enumerate(self.candidates)]
        schema = {"campaign_id": pl.Int64, "offer_id": pl.Int64, "place": pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row")

    @property
    def layout(self) -> tuple[str, ...]:
        """What each byte of a decision's verdicts is about."""
        return layout_of(self.content)


def layout_of(content: Mapping[str, Any]) -> tuple[str, ...]:
    rules = [f"rule:{rule['id']}" for campaign in content["campaigns"] for rule in campaign["rules"]]
    return (*rules, *(f"priority:{rule['id']}" for rule in content["priority_rules"]))


def current(today: date) -> Policy:
    """The policy of a day; about ten small queries when something in it is new, else one."""
    return in_force.kept(("policy", today), lambda: _built(today))


def _built(today: date) -> tuple[Policy, bool]:
    """The policy of a day, and whether each of its rules could be read."""
    running = campaigns.in_effect(today)
    policy = build(
        list(running.select_related("trigger_segment").prefetch_related("rules__segment", "rules__offer")),
        list(
            ServicePriorityRule.objects.filter(is_active=True).select_related("segment").order_by("position")
        ),
    )
    rules: list[Candidate | PriorityCandidate] = [*policy.candidates, *policy.priorities]
    return policy, all(rule.node is not None for rule in rules)


def build(
    running: Sequence[Campaign],
    priority_rules: Sequence[ServicePriorityRule],
    *,
    fields: Mapping[str, RuleField] | None = None,
) -> Policy:
    """A policy of these campaigns and priority rules; campaigns win by priority, then by id."""
    known = rule_fields.registry() if fields is None else fields
    draws = holdouts.current_draws()
    ordered = sorted(running, key=lambda campaign: (-campaign.priority, campaign.pk))
    compares = any(campaign.choice == Campaign.Choice.VALUE for campaign in ordered)
    effects = uplift_fields.known() if compares else {}
    caps = FrequencyCap.objects.filter(is_active=True).order_by("pk")
    content: dict[str, Any] = {
        "format": FORMAT,
        "caps": [terms.of_cap(cap) for cap in caps],
        "global_holdout": _draw_content(draws.get(None)),
        "campaigns": [_campaign_content(campaign, draws.get(campaign.pk), effects) for campaign in ordered],
        "priority_rules": [_priority_content(rule) for rule in priority_rules],
    }
    if contact := terms.of_contact(in_force.shop()):
        content["contact"] = contact
    mentioned = _segments_of(content)
    definitions = segments.definitions(mentioned, fields=known)
    content["segments"] = {
        d.slug: {"name": d.name, "rule": language.to_json(d.node), "predicts": d.predicts}
        for d in definitions
    }
    used = _fields_of(content)
    found = {name: rule_fields.find(known, name) for name in sorted(used)}
    content["fields"] = {name: _field_content(field) for name, field in found.items() if field is not None}
    return _read(content, known, definitions, used)


def load(content: Mapping[str, Any]) -> Policy:
    """The policy as it was, from a stored document. Labels come from the code where it owns them."""
    known = {name: _field_from(name, stored) for name, stored in content["fields"].items()}
    now = rule_fields.registry()
    owned = {"feature", "customer", "consent", "score"}
    known |= {name: now[name] for name in known if name in now and name.split(".", 1)[0] in owned}
    definitions = tuple(
        Definition(0, slug, stored["name"], node, language.segments_used(node), stored["predicts"])
        for slug, stored in content["segments"].items()
        if (node := _parsed(stored["rule"], known)) is not None
    )
    return _read(content, known, definitions, _fields_of(content))


def stored_id(policy: Policy) -> int:
    """The id of this policy's row; the row is written when it is new."""
    return in_force.kept(("policy row", policy.sha256), lambda: _stored_id(policy))


def _stored_id(policy: Policy) -> tuple[int, bool]:
    found = PolicyVersion.objects.defer("content").filter(sha256=policy.sha256).first()
    # A row of a transaction that is not over yet may be gone with it.
    return (stored(policy).pk, False) if found is None else (found.pk, True)


def stored(policy: Policy) -> PolicyVersion:
    """The row of this policy, written when it is new."""
    found = PolicyVersion.objects.defer("content").filter(sha256=policy.sha256).first()
    if found is None:
        row = (policy.sha256, dict(policy.content))
        bulk.insert(PolicyVersion, ("sha256", "content"), [row], on_conflict="ignore")
        found = PolicyVersion.objects.get(sha256=policy.sha256)
    return found


def _read(
    content: Mapping[str, Any],
    known: Mapping[str, RuleField],
    definitions: tuple[Definition, ...],
    used: Iterable[str],
) -> Policy:
    predicting = {d.slug for d in definitions if d.predicts}
    return Policy(
        content=content,
        sha256=hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        candidates=tuple(_candidates(content, known, predicting)),
        priorities=tuple(_priority(rule, known, predicting) for rule in content["priority_rules"]),
        global_draw=_draw(content["global_holdout"]),
        definitions=definitions,
        fields_used=frozenset(used) | set(ALWAYS_USED),
        caps=tuple(Cap(**cap) for cap in content.get("caps", ())),
    )


def _candidates(
    content: Mapping[str, Any], known: Mapping[str, RuleField], predicting: set[str]
) -> Iterable[Candidate]:
    for stored_campaign in content["campaigns"]:
        campaign = terms.read_campaign(
            stored_campaign, _draw(stored_campaign["holdout"]), content.get("contact")
        )
        for rule in stored_campaign["rules"]:
            offer = terms.read_offer(rule["offer"])
            node = _whole(rule, known)
            yield Candidate(
                rule["id"],
                rule["name"],
                campaign,
                offer,
                node,
                _predicts(node, predicting),
                terms.read_worth(rule),
            )


def _priority(
    rule: Mapping[str, Any], known: Mapping[str, RuleField], predicting: set[str]
) -> PriorityCandidate:
    node = _whole(rule, known)
    return PriorityCandidate(
        rule["id"],
        rule["name"],
        rule["level"],
        node,
        _predicts(node, predicting),
        is_promise=rule.get("is_promise", False),
        respects_holdout=rule.get("respects_holdout", False),
        expires_days=rule.get("expires_days"),
    )


def _predicts(node: Node | None, predicting: set[str]) -> bool:
    return node is not None and (
        language.uses_predictions(node) or bool(language.segments_used(node) & predicting)
    )


def _whole(rule: Mapping[str, Any], known: Mapping[str, RuleField]) -> Node | None:
    """Segment and further condition as one tree."""
    parts: list[Node | None] = []
    if rule["segment"]:
        parts.append(_parsed({"field": f"segment.{rule['segment']}", "op": "in"}, known))
    if rule["condition"] is not None:
        parts.append(_parsed(rule["condition"], known))
    readable = [part for part in parts if part is not None]
    if not parts or len(readable) < len(parts):
        _tell_unreadable(rule)
        return None
    return readable[0] if len(readable) == 1 else Group("all", tuple(readable))


def _parsed(rule: object, known: Mapping[str, RuleField]) -> Node | None:
    try:
        return language.parse(rule, fields=known, stored=True)
    except RuleError:
        return None


def _tell_unreadable(rule: Mapping[str, Any]) -> None:
    kind = "priority_rule" if "level" in rule else "campaign_rule"
    message = _("The rule “%(name)s” can no longer be read, so nobody fits it. Edit it.") % {
        "name": rule["name"]
    }
    alerts.raise_once(f"{kind}.unreadable.{rule['id']}", message)


def _campaign_content(campaign: Campaign, draw: Draw | None, effects: Fields) -> dict[str, Any]:
    rules = sorted(campaign.rules.all(), key=lambda rule: rule.position)
    return {
        **terms.of_campaign(campaign),
        "holdout": _draw_content(draw),
        "rules": [_rule_content(rule, campaign, effects) for rule in rules],
    }


def _rule_content(rule: CampaignRule, campaign: Campaign, effects: Fields) -> dict[str, Any]:
    worth = terms.of_worth(rule)
    if campaign.choice == Campaign.Choice.VALUE:
        # Where a model knows what the offer changes, it says more than one number for everybody.
        worth["uplift_field"] = uplift_fields.of_rule(rule, effects)
    return {
        "id": rule.pk,
        "name": rule.name,
        "segment": _slug(rule.segment),
        "condition": rule.condition,
        "offer": terms.of_offer(rule.offer),
        **worth,
    }


def _priority_content(rule: ServicePriorityRule) -> dict[str, Any]:
    return {
        "id": rule.pk,
        "name": rule.name,
        "level": int(rule.level),
        "segment": _slug(rule.segment),
        "condition": rule.condition,
        "is_promise": rule.is_promise,
        "respects_holdout": rule.respects_holdout,
        "expires_days": rule.expires_days,
    }


def _slug(segment: Segment | None) -> str | None:
    return None if segment is None else segment.slug


def _draw_content(draw: Draw | None) -> dict[str, Any] | None:
    return None if draw is None else {"salt": draw.salt, "percent": draw.percent}


def _draw(stored_draw: Mapping[str, Any] | None) -> Draw | None:
    return None if stored_draw is None else Draw(**stored_draw)


def _segments_of(content: Mapping[str, Any]) -> list[str]:
    rules = [rule for campaign in content["campaigns"] for rule in campaign["rules"]]
    named = {rule["segment"] for rule in (*rules, *content["priority_rules"]) if rule["segment"]}
    for rule in (*rules, *content["priority_rules"]):
        named |= {
            name.partition(".")[2]
            for name in language.names_in(rule["condition"])
            if name.startswith("segment.")
        }
    return sorted(named)


def _fields_of(content: Mapping[str, Any]) -> set[str]:
    """Names of all fields that the policy's rules and segments ask about, segments included."""
    rules = [rule for campaign in content["campaigns"] for rule in campaign["rules"]]
    used = {f"segment.{rule['segment']}" for rule in (*rules, *content["priority_rules"]) if rule["segment"]}
    for rule in (*rules, *content["priority_rules"]):
        used |= language.names_in(rule["condition"])
    used |= {rule["uplift_field"] for rule in rules if rule.get("uplift_field")}
    for definition in content["segments"].values():
        used |= language.names_in(definition["rule"])
    return used


def _field_content(field: RuleField) -> dict[str, Any]:
    with override("en"):
        choices = [[choice.value, str(choice.label)] for choice in field.choices]
        return {"label": str(field.label), "type": field.type.value, "unit": field.unit, "choices": choices}


def _field_from(name: str, content: Mapping[str, Any]) -> RuleField:
    choices = tuple(Choice(value, label) for value, label in content["choices"])
    return RuleField(name, content["label"], FieldType(content["type"]), content["unit"], choices)
