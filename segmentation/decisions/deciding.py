"""Decide for the customers of a frame and write what changed. Callers hold the transaction and the customers' rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import polars as pl
from django.db.models import Max
from django.utils import timezone

from segmentation import bulk
from segmentation.decisions import policy as policies
from segmentation.decisions import re_entry, snapshots
from segmentation.decisions.policy import Policy
from segmentation.decisions.verdicts import Judged, judge
from segmentation.models import Customer, Decision, PolicyVersion, ServicePriority
from segmentation.models.customers import PriorityLevel

# A verdict that an older policy did not have: differs from every real one.
UNKNOWN: Final = 255
_COLUMNS: Final = (
    "customer_id",
    "input_version",
    "policy_id",
    "snapshot_id",
    "as_of",
    "cause",
    "campaign_id",
    "offer_id",
    "priority",
    "verdicts",
)


@dataclass(frozen=True)
class Decided:
    """A decision that was written: its winner, its priority or a verdict differs from the customer's last one."""

    customer_id: int
    reference: str
    decision_id: int
    input_version: int
    offer: str | None
    campaign: str | None
    priority: int
    offer_changed: bool
    priority_changed: bool
    is_first: bool


@dataclass(frozen=True)
class _Person:
    reference: str
    holdout_key: str
    offer_id: int | None
    priority: int


@dataclass(frozen=True)
class _Last:
    """A customer's latest decision."""

    policy_id: int
    campaign_id: int | None
    offer_id: int | None
    priority: int
    verdicts: bytes


def decide(frame: pl.DataFrame, *, as_of: date, cause: int) -> list[Decided]:
    """Judge every row and write decisions where something changed, headlines and service priorities with them.

    frame: a decision frame with its segment columns (see memberships.evaluate) and input_version; one row a
    customer. A (customer, input_version, policy) that is decided already stays as it is.
    """
    if frame.is_empty():
        return []
    today = as_of - timedelta(days=1)
    policy = policies.current(today)
    row = policies.stored(policy)
    ids = frame["customer_id"].to_list()
    people = _people(ids)
    known = re_entry.entries(ids, policy.candidates)
    judged = judge(
        frame,
        policy,
        today=today,
        keys=[people[key].holdout_key for key in ids],
        waiting=re_entry.waiting(ids, policy.candidates, known, as_of=as_of),
    )
    last = _last_decisions(ids)
    changed = _changed(ids, judged, policy, row.pk, last)
    decided = _write_decisions(frame, judged, changed, policy, row.pk, last, people, as_of=as_of, cause=cause)
    _write_headlines(ids, judged, policy, people)
    _write_priorities(ids, judged, policy)
    return decided


def _people(ids: Sequence[int]) -> dict[int, _Person]:
    columns = ("pk", "reference", "holdout_key", "current_offer_id", "priority")
    return {
        pk: _Person(reference, key or reference, offer_id, priority)
        for pk, reference, key, offer_id, priority in bulk.values_in(
            Customer.objects.all(), ids, *columns, by="pk"
        )
    }


def _last_decisions(ids: Sequence[int]) -> dict[int, _Last]:
    newest = Decision.objects.order_by().values("customer_id").annotate(last=Max("pk"))
    keys = [last for _customer, last in bulk.values_in(newest, ids, "customer_id", "last")]
    columns = ("customer_id", "policy_id", "campaign_id", "offer_id", "priority", "verdicts")
    return {
        customer: _Last(policy_id, campaign_id, offer_id, priority, bytes(codes))
        for customer, policy_id, campaign_id, offer_id, priority, codes in bulk.values_in(
            Decision.objects.all(), keys, *columns, by="pk"
        )
    }


def _changed(
    ids: Sequence[int], judged: Judged, policy: Policy, policy_id: int, last: Mapping[int, _Last]
) -> np.ndarray:
    """(n,) True where winner, priority or a verdict differs from the latest decision, or there is none."""
    aligned = _aligned(policy, policy_id, last)
    codes = judged.codes
    out = np.ones(len(ids), dtype=bool)
    for index, key in enumerate(ids):
        before = last.get(key)
        if before is None:
            continue
        offer_id, campaign_id = _winner_ids(policy, judged, index)
        same = (before.offer_id, before.campaign_id, before.priority) == (
            offer_id,
            campaign_id,
            int(judged.level[index]),
        )
        out[index] = not same or aligned(before) != codes[index].tobytes()
    return out


def _aligned(policy: Policy, policy_id: int, last: Mapping[int, _Last]) -> Any:
    """A function from a latest decision to its verdicts in the present policy's layout."""
    older = {row.policy_id for row in last.values()} - {policy_id}
    contents = dict(PolicyVersion.objects.filter(pk__in=older).values_list("pk", "content"))
    orders: dict[int, list[int | None]] = {}
    for pk, content in contents.items():
        place = {name: position for position, name in enumerate(policies.layout_of(content))}
        orders[pk] = [place.get(name) for name in policy.layout]

    def align(row: _Last) -> bytes:
        if row.policy_id == policy_id:
            return row.verdicts
        order = orders.get(row.policy_id, [None] * len(policy.layout))
        return bytes(UNKNOWN if position is None else row.verdicts[position] for position in order)

    return align


def _winner_ids(policy: Policy, judged: Judged, index: int) -> tuple[int | None, int | None]:
    """(offer id, campaign id) of a row's winner."""
    if judged.winner[index] < 0:
        return None, None
    candidate = policy.candidates[judged.winner[index]]
    return candidate.offer.id, candidate.campaign.id


def _write_decisions(
    frame: pl.DataFrame,
    judged: Judged,
    changed: np.ndarray,
    policy: Policy,
    policy_id: int,
    last: Mapping[int, _Last],
    people: Mapping[int, _Person],
    *,
    as_of: date,
    cause: int,
) -> list[Decided]:
    keys: list[tuple[int, int]] = frame.select("customer_id", "input_version").rows()
    touched = [int(index) for index in np.flatnonzero(changed)]
    done = _decision_ids(policy_id, [keys[index] for index in touched])
    touched = [index for index in touched if keys[index] not in done]
    if not touched:
        return []
    seen = snapshots.write(frame[touched], sorted(policy.fields_used), as_of=as_of)
    rows = []
    for index in touched:
        offer_id, campaign_id = _winner_ids(policy, judged, index)
        winner = (campaign_id, offer_id, int(judged.level[index]), judged.codes[index].tobytes())
        rows.append((*keys[index], policy_id, seen[keys[index]], as_of, int(cause), *winner))
    bulk.insert(Decision, _COLUMNS, rows)
    written = _decision_ids(policy_id, [keys[index] for index in touched])
    return [
        _decided(keys[index], index, judged, policy, written[keys[index]], last.get(keys[index][0]), people)
        for index in touched
    ]


def _decision_ids(policy_id: int, keys: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    wanted = set(keys)
    rows = bulk.values_in(
        Decision.objects.filter(policy_id=policy_id),
        [customer for customer, _version in keys],
        "customer_id",
        "input_version",
        "pk",
    )
    return {(customer, version): pk for customer, version, pk in rows if (customer, version) in wanted}


def _decided(
    key: tuple[int, int],
    index: int,
    judged: Judged,
    policy: Policy,
    decision_id: int,
    before: _Last | None,
    people: Mapping[int, _Person],
) -> Decided:
    candidate = policy.candidates[judged.winner[index]] if judged.winner[index] >= 0 else None
    offer_id = candidate.offer.id if candidate else None
    level = int(judged.level[index])
    return Decided(
        customer_id=key[0],
        reference=people[key[0]].reference,
        decision_id=decision_id,
        input_version=key[1],
        offer=candidate.offer.slug if candidate else None,
        campaign=candidate.campaign.slug if candidate else None,
        priority=level,
        offer_changed=offer_id != (before.offer_id if before else None),
        priority_changed=level != (before.priority if before else PriorityLevel.NORMAL),
        is_first=before is None,
    )


def _write_headlines(
    ids: Sequence[int], judged: Judged, policy: Policy, people: Mapping[int, _Person]
) -> None:
    """Customer.current_offer and .priority, where they differ."""
    rows = []
    for index, key in enumerate(ids):
        offer_id, _campaign = _winner_ids(policy, judged, index)
        now = (offer_id, int(judged.level[index]))
        if now != (people[key].offer_id, people[key].priority):
            rows.append((key, *now))
    bulk.update(Customer, ("id", "current_offer_id", "priority"), rows)


def _write_priorities(ids: Sequence[int], judged: Judged, policy: Policy) -> None:
    """ServicePriority rows where level or rule differ; normal has no row."""
    stored = {
        customer: (level, rule)
        for customer, level, rule in bulk.values_in(
            ServicePriority.objects.all(), ids, "customer_id", "level", "rule_id"
        )
    }
    rows, gone = [], []
    now = timezone.now()
    for index, key in enumerate(ids):
        level = int(judged.level[index])
        if level == PriorityLevel.NORMAL:
            if key in stored:
                gone.append((key,))
            continue
        wanted = (level, policy.priorities[judged.priority_rule[index]].rule_id)
        if stored.get(key) != wanted:
            rows.append((key, *wanted, now))
    overwrite = bulk.Update(keys=("customer_id",), columns=("level", "rule_id", "since"))
    bulk.insert(ServicePriority, ("customer_id", "level", "rule_id", "since"), rows, on_conflict=overwrite)
    bulk.delete(ServicePriority, ("customer_id",), gone)
