"""Who wins: every candidate judged for every row of a frame, without a loop over customers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from typing import Final

import numpy as np
import polars as pl

from segmentation import holdouts
from segmentation.decisions.policy import Candidate, Policy, PriorityCandidate
from segmentation.models.customers import PriorityLevel
from segmentation.rules import compile as rules

GRANTED: Final = "granted"
DENIED: Final = "denied"


class Verdict(IntEnum):
    """One byte a candidate in Decision.verdicts; the numbers are a contract and never reused.

    A campaign rule is judged in this order: can it be read, may its predictions be used, does the customer fit,
    is the offer on, is there consent, is the customer held out (of everything, of the campaign), must they wait,
    has an earlier candidate won. So whoever is held out did fit, and is the control group.
    """

    RULE_FALSE = 0
    WON = 1
    OUTRANKED = 2
    NOT_PROFILED = 3
    OFFER_INACTIVE = 4
    NO_CONSENT = 5
    HELD_OUT_GLOBAL = 6
    HELD_OUT_CAMPAIGN = 7
    RE_ENTRY_WAIT = 8
    UNREADABLE = 9
    PRIORITY_SET = 20
    PRIORITY_AFTER = 21


@dataclass(frozen=True)
class Judged:
    """For n rows: codes (n, candidates + priority rules) uint8 in the policy's layout; winner and priority_rule
    (n,) index into the policy's candidates and priority rules, -1 for none; level (n,) of service priority."""

    codes: np.ndarray
    winner: np.ndarray
    priority_rule: np.ndarray
    level: np.ndarray


def judge(
    frame: pl.DataFrame,
    policy: Policy,
    *,
    today: date,
    keys: Sequence[str],
    waiting: np.ndarray | None = None,
) -> Judged:
    """Judge all candidates on a decision frame that has its segment columns.

    keys: (n,) holdout keys. waiting: (n, candidates) True where the campaign may not come again yet.
    """
    profiled = _column(frame, "customer.is_profiled", default=True)
    count = len(policy.candidates)
    fits = _fits(frame, [*policy.candidates, *policy.priorities], today=today)
    codes = np.zeros((frame.height, count + len(policy.priorities)), dtype=np.uint8)
    winner = np.full(frame.height, -1, dtype=np.int64)
    gates = _Gates(frame, policy, keys, waiting)
    for index, candidate in enumerate(policy.candidates):
        code = gates.codes(index, candidate, _first_verdicts(candidate, fits[:, index], profiled))
        open_ = code == Verdict.WON
        code[open_ & (winner >= 0)] = Verdict.OUTRANKED
        winner[open_ & (winner < 0)] = index
        codes[:, index] = code
    rule, level = _priorities(policy.priorities, fits[:, count:], profiled, codes[:, count:])
    return Judged(codes=codes, winner=winner, priority_rule=rule, level=level)


def _fits(
    frame: pl.DataFrame, candidates: Sequence[Candidate | PriorityCandidate], *, today: date
) -> np.ndarray:
    """(n, candidates) bool; False where a rule cannot be read."""
    if not candidates:
        return np.zeros((frame.height, 0), dtype=bool)
    columns = set(frame.columns)
    tests = [
        pl.lit(False) if c.node is None else rules.expression(c.node, today=today, columns=columns)
        for c in candidates
    ]
    named = [test.alias(f"fits.{index}") for index, test in enumerate(tests)]
    # Beside a column of the frame a literal is spread over the rows.
    answers = frame.select(frame.columns[0], *named).to_dict(as_series=True)
    return np.column_stack([answers[f"fits.{index}"].to_numpy() for index in range(len(tests))])


def _first_verdicts(
    candidate: Candidate | PriorityCandidate, fits: np.ndarray, profiled: np.ndarray
) -> np.ndarray:
    """WON where the rule holds and may be asked at all."""
    code = np.where(fits, np.uint8(Verdict.WON), np.uint8(Verdict.RULE_FALSE))
    if candidate.predicts:
        code[~profiled] = Verdict.NOT_PROFILED
    if candidate.node is None:
        code[:] = Verdict.UNREADABLE
    return code


class _Gates:
    """What can stand between a customer who fits and the offer."""

    def __init__(
        self, frame: pl.DataFrame, policy: Policy, keys: Sequence[str], waiting: np.ndarray | None
    ) -> None:
        self._keys = keys
        self._waiting = waiting
        self._consent = _column(frame, "consent.marketing", default="unknown")
        self._global = holdouts.held_out(policy.global_draw, keys)
        self._by_campaign: dict[int, np.ndarray] = {}

    def codes(self, index: int, candidate: Candidate, code: np.ndarray) -> np.ndarray:
        """`code` with WON replaced by the first gate that is shut."""
        campaign = candidate.campaign
        if not candidate.offer.is_active:
            code[code == Verdict.WON] = Verdict.OFFER_INACTIVE
        lacking = self._consent != GRANTED if campaign.needs_consent else self._consent == DENIED
        code[(code == Verdict.WON) & lacking] = Verdict.NO_CONSENT
        code[(code == Verdict.WON) & self._global] = Verdict.HELD_OUT_GLOBAL
        code[(code == Verdict.WON) & self._held_out(candidate)] = Verdict.HELD_OUT_CAMPAIGN
        if self._waiting is not None:
            code[(code == Verdict.WON) & self._waiting[:, index]] = Verdict.RE_ENTRY_WAIT
        return code

    def _held_out(self, candidate: Candidate) -> np.ndarray:
        campaign = candidate.campaign
        if campaign.id not in self._by_campaign:
            self._by_campaign[campaign.id] = holdouts.held_out(campaign.draw, self._keys)
        return self._by_campaign[campaign.id]


def _priorities(
    candidates: Sequence[PriorityCandidate], fits: np.ndarray, profiled: np.ndarray, codes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fill `codes` in place; returns (rule index or -1, level) a row. The first rule that fits sets the level."""
    rule = np.full(len(profiled), -1, dtype=np.int64)
    level = np.full(len(profiled), int(PriorityLevel.NORMAL), dtype=np.int64)
    for index, candidate in enumerate(candidates):
        code = _first_verdicts(candidate, fits[:, index], profiled)
        open_ = code == Verdict.WON
        first = open_ & (rule < 0)
        code[open_] = Verdict.PRIORITY_AFTER
        code[first] = Verdict.PRIORITY_SET
        rule[first] = index
        level[first] = candidate.level
        codes[:, index] = code
    return rule, level


def _column(frame: pl.DataFrame, name: str, *, default: bool | str) -> np.ndarray:
    if name not in frame.columns:
        return np.full(frame.height, default)
    values = frame[name].fill_null(default if isinstance(default, str) else False)
    return values.to_numpy()
