"""How soon customers are served: rules in order, promises that hold whatever else, and what people said.

A rule that uses predictions never serves anybody later than they would be without it, unless a person has approved it
for that customer. An override by a person beats the rules, a promise beats both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from django.db.models import Q

from segmentation import bulk
from segmentation.decisions import circumstances
from segmentation.decisions.codes import Verdict
from segmentation.decisions.policy import Policy, PriorityCandidate
from segmentation.holdouts import Drawn
from segmentation.models import PriorityOverride, PriorityReview, ServicePriority
from segmentation.models.customers import PriorityLevel

NORMAL: Final = int(PriorityLevel.NORMAL)


@dataclass(frozen=True)
class Levels:
    """For n rows and m priority rules. approved, expired: (n, m). override: (n,) level, 0 for none; its row's id."""

    approved: np.ndarray
    expired: np.ndarray
    override: np.ndarray
    override_id: np.ndarray


@dataclass(frozen=True)
class Said:
    """rule: (n,) which one sets the level, -1 for none; overridden: (n,) a person's word does."""

    rule: np.ndarray
    level: np.ndarray
    overridden: np.ndarray


def read(ids: Sequence[int], policy: Policy, *, now: datetime, overrides: bool) -> Levels | None:
    """What people and time have to say; None where no rule asks and nothing was overridden."""
    places = {rule.rule_id: place for place, rule in enumerate(policy.priorities)}
    asks = [
        rule.rule_id for place, rule in enumerate(policy.priorities) if may_lower(policy.priorities, place)
    ]
    ends = [rule.rule_id for rule in policy.priorities if rule.expires_days is not None]
    if not asks and not ends and not overrides:
        return None
    rows = {key: row for row, key in enumerate(ids)}
    levels = Levels(
        approved=np.zeros((len(ids), len(places)), dtype=bool),
        expired=np.zeros((len(ids), len(places)), dtype=bool),
        override=np.zeros(len(ids), dtype=np.int64),
        override_id=np.zeros(len(ids), dtype=np.int64),
    )
    if asks:
        lasting = Q(until__isnull=True) | Q(until__gt=now)
        approved = PriorityReview.objects.filter(lasting, state=PriorityReview.State.APPROVED, rule__in=asks)
        for key, rule in bulk.values_in(approved, ids, "customer_id", "rule_id"):
            levels.approved[rows[key], places[rule]] = True
    if ends:
        stored = bulk.values_in(
            ServicePriority.objects.all(), ids, "customer_id", "rule_id", "expires_at", "ended_rules"
        )
        for key, rule, expires_at, ended in stored:
            over = {int(one) for one in ended.split(",") if one}
            over |= {rule} if expires_at is not None and expires_at <= now else set()
            for one in over & places.keys():
                levels.expired[rows[key], places[one]] = True
    if overrides:
        open_ = PriorityOverride.objects.filter(ended_at__isnull=True, until__gt=now)
        people = circumstances.rows_of(ids)
        said = bulk.values_in(open_, sorted(people), "customer_id", "level", "pk")
        # What was said of somebody who was merged into a customer holds for them; their own word beats it.
        for key, level, pk in sorted(said, key=lambda row: (row[0] in rows, row[1])):
            levels.override[people[key]], levels.override_id[people[key]] = level, pk
    return levels


def of_decision(policy: Policy, codes: np.ndarray, level: int) -> Levels:
    """What people and time said for a decision that was made, as far as its codes (1, rules) tell."""
    told = codes[:, len(policy.candidates) :]
    set_by_rule = np.isin(told, (Verdict.PRIORITY_SET,)).any()
    by_hand = (told == Verdict.PRIORITY_OVERRIDDEN).any() or (not set_by_rule and level != NORMAL)
    return Levels(
        approved=told != Verdict.PRIORITY_NEEDS_APPROVAL,
        expired=told == Verdict.PRIORITY_EXPIRED,
        override=np.array([level if by_hand else 0]),
        override_id=np.zeros(1, dtype=np.int64),
    )


def may_lower(rules: Sequence[PriorityCandidate], place: int) -> bool:
    """Whether this rule uses predictions and could serve somebody later than the rules after it would."""
    rule = rules[place]
    later = [other.level for other in rules[place + 1 :] if not other.is_promise]
    return rule.predicts and not rule.is_promise and rule.level < max([NORMAL, *later])


def priorities(
    rules: Sequence[PriorityCandidate],
    fits: np.ndarray,
    profiled: np.ndarray,
    held_out: Drawn,
    codes: np.ndarray,
    levels: Levels | None,
) -> Said:
    """Fill `codes` (n, m) in place. fits: (n, m) what the rules say."""
    height = len(profiled)
    rule = np.full(height, -1, dtype=np.int64)
    level = np.full(height, NORMAL, dtype=np.int64)
    for index in reversed(range(len(rules))):
        code = _first(rules[index], fits[:, index], profiled, held_out)
        if levels is not None:
            code[(code == Verdict.PRIORITY_AFTER) & levels.expired[:, index]] = Verdict.PRIORITY_EXPIRED
        codes[:, index] = code
        if rules[index].is_promise:
            continue
        sets = code == Verdict.PRIORITY_AFTER
        if rules[index].predicts:
            lowers = sets & (rules[index].level < level)
            if levels is not None:
                lowers &= ~levels.approved[:, index]
            codes[lowers, index] = Verdict.PRIORITY_NEEDS_APPROVAL
            sets &= ~lowers
        rule[sets], level[sets] = index, rules[index].level
    _mark(codes, rule, Verdict.PRIORITY_SET)
    overridden = np.zeros(height, dtype=bool)
    if levels is not None and levels.override.any():
        overridden = levels.override > 0
        _mark(codes, np.where(overridden, rule, -1), Verdict.PRIORITY_OVERRIDDEN)
        rule = np.where(overridden, -1, rule)
        level = np.where(overridden, levels.override, level)
    return _promised(rules, codes, rule, level, overridden)


def _first(rule: PriorityCandidate, fits: np.ndarray, profiled: np.ndarray, held_out: Drawn) -> np.ndarray:
    """PRIORITY_AFTER where the rule holds and may be asked at all: whether it sets the level comes later."""
    code = np.where(fits, np.uint8(Verdict.PRIORITY_AFTER), np.uint8(Verdict.RULE_FALSE))
    if rule.predicts:
        code[~profiled] = Verdict.NOT_PROFILED
    if rule.node is None:
        code[:] = Verdict.UNREADABLE
    if rule.respects_holdout:
        code[held_out.among(code == Verdict.PRIORITY_AFTER)] = Verdict.HELD_OUT_GLOBAL
    return code


def _promised(
    rules: Sequence[PriorityCandidate],
    codes: np.ndarray,
    rule: np.ndarray,
    level: np.ndarray,
    overridden: np.ndarray,
) -> Said:
    """Raise whoever is promised more than they would get."""
    promises = [index for index, one in enumerate(rules) if one.is_promise]
    for index in sorted(promises, key=lambda one: -rules[one].level):
        raised = (codes[:, index] == Verdict.PRIORITY_AFTER) & (rules[index].level > level)
        _mark(codes, np.where(raised, rule, -1), Verdict.PRIORITY_RAISED)
        codes[raised, index] = Verdict.PRIORITY_SET
        rule = np.where(raised, index, rule)
        level = np.where(raised, rules[index].level, level)
        overridden = overridden & ~raised
    return Said(rule, level, overridden)


def _mark(codes: np.ndarray, rule: np.ndarray, verdict: Verdict) -> None:
    rows = np.flatnonzero(rule >= 0)
    codes[rows, rule[rows]] = verdict
