"""What the other choice would have done with each customer of the log, by what was known of them then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from segmentation import bulk, memberships
from segmentation.decisions import choice, snapshots
from segmentation.decisions import policy as policies
from segmentation.decisions.codes import GIVEN, Verdict
from segmentation.decisions.policy import ALWAYS_USED, Policy
from segmentation.decisions.verdicts import judge
from segmentation.estimates.logged import NOTHING, Logged
from segmentation.models import Campaign, InputSnapshot, PolicyVersion
from segmentation.rules.operators import FieldType

CHUNK: Final = 2_000
# Columns that predict outcomes beside the log; more cost time and bring noise.
MOST_COLUMNS: Final = 40


def policy_of(campaign: Campaign) -> Policy:
    """The campaign alone, given to everybody who fits: nobody is held out."""
    built = policies.build([campaign], [])
    candidates = tuple(replace(one, campaign=replace(one.campaign, draw=None)) for one in built.candidates)
    return replace(built, candidates=candidates, global_draw=None)


def offers_of(policy: Policy) -> list[int]:
    return sorted({candidate.offer.id for candidate in policy.candidates})


def missing(policy: Policy, log: Logged) -> list[str]:
    """Fields that the other choice asks about and that were not kept with every decision of the log."""
    asked = {name for name in policy.fields_used if not name.startswith("segment.")} - set(ALWAYS_USED)
    seen = {row.policy_id for row in log.rows}
    kept = [set(log.policies[pk].content["fields"]) for pk in seen]
    return sorted(asked.difference(set.intersection(*kept))) if kept else []


def chances(policy: Policy, log: Logged, places: Mapping[int | None, int]) -> np.ndarray:
    """(n, k) of each offer by its place, NOTHING for who would get nothing."""
    out = np.zeros((len(log.rows), len(places)))
    by_day: dict[Any, list[int]] = defaultdict(list)
    for number, row in enumerate(log.rows):
        by_day[row.day].append(number)
    for day, numbers in by_day.items():
        for start in range(0, len(numbers), CHUNK):
            part = numbers[start : start + CHUNK]
            frame = snapshots.frame_of(_snapshots(log, part), policy)
            frame = memberships.evaluate(frame, policy.definitions, today=day)
            judged = judge(frame, policy, today=day, keys=[""] * frame.height)
            out[part] = _shares(judged.codes[:, : len(policy.candidates)], policy, places)
    return out


def columns(log: Logged) -> np.ndarray:
    """(n, d) the numbers that were kept with every decision of the log, for predicting what comes of them."""
    names = _numbers(log)
    out = np.full((len(log.rows), len(names)), np.nan)
    for start in range(0, len(log.rows), CHUNK):
        part = range(start, min(start + CHUNK, len(log.rows)))
        for number, (snapshot, version) in zip(part, _snapshots(log, part), strict=True):
            values = snapshots.read(snapshot, version)
            out[number] = [_number(values.get(name)) for name in names]
    known = ~np.isnan(out)
    mean = np.where(known, out, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, out, mean)
    # Money and counts have long tails, which straight lines do not fit.
    return np.column_stack([filled, np.sign(filled) * np.log1p(np.abs(filled))]) if names else filled


def _numbers(log: Logged) -> list[str]:
    seen = {row.policy_id for row in log.rows}
    kept = [
        {
            name
            for name, field in log.policies[pk].content["fields"].items()
            if field["type"] == FieldType.NUMBER
        }
        for pk in seen
    ]
    return sorted(set.intersection(*kept))[:MOST_COLUMNS] if kept else []


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def _snapshots(
    log: Logged, numbers: Sequence[int] | range
) -> list[tuple[InputSnapshot, PolicyVersion | None]]:
    """Snapshots of these rows of the log, in their order, each with the policy whose numbers it is kept under."""
    keys = [log.rows[number].snapshot_id for number in numbers]
    columns_ = ("pk", "customer_id", "input_version", "policy_id", "content")
    found = {
        row[0]: row
        for row in bulk.values_in(InputSnapshot.objects.all(), sorted(set(keys)), *columns_, by="pk")
    }
    versions = _versions({row[3] for row in found.values()})
    return [
        (
            InputSnapshot(
                pk=row[0], customer_id=row[1], input_version=row[2], policy_id=row[3], content=bytes(row[4])
            ),
            versions.get(row[3]),
        )
        for row in (found[key] for key in keys)
    ]


def _versions(keys: set[int]) -> dict[int, PolicyVersion]:
    return PolicyVersion.objects.in_bulk([key for key in keys if key is not None])


def _shares(codes: np.ndarray, policy: Policy, places: Mapping[int | None, int]) -> np.ndarray:
    """(n, k) from the codes (n, candidates) of a policy that is judged alone."""
    out = np.zeros((len(codes), len(places)))
    at = [places[candidate.offer.id] for candidate in policy.candidates]
    if policy.candidates and policy.candidates[0].campaign.choice == Campaign.Choice.SAMPLING:
        open_ = np.isin(codes, (*GIVEN, Verdict.NOT_CHOSEN))
        records = [(one.worth.tried, one.worth.succeeded) for one in policy.candidates]
        for pattern in np.unique(open_, axis=0):
            arms = np.flatnonzero(pattern)
            if not len(arms):
                continue
            rows = (open_ == pattern).all(axis=1)
            shares = choice.chances_of(tuple(records[arm] for arm in arms))
            for arm, share in zip(arms, shares, strict=True):
                out[rows, at[arm]] += share
    else:
        for index, place in enumerate(at):
            out[np.isin(codes[:, index], GIVEN), place] = 1.0
    out[:, NOTHING] = 1 - out.sum(axis=1)
    return out
