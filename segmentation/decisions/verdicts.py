"""Who wins: every candidate judged for every row of a frame, without a loop over customers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import polars as pl

from segmentation import holdouts
from segmentation.decisions import choice
from segmentation.decisions.circumstances import Circumstances
from segmentation.decisions.codes import GIVEN, MAIN, Verdict
from segmentation.decisions.levels import Levels, priorities
from segmentation.decisions.limits import Allowance
from segmentation.decisions.policy import Candidate, Policy, PriorityCandidate
from segmentation.rules import compile as rules

__all__ = ["DENIED", "GIVEN", "GRANTED", "MAIN", "Judged", "Verdict", "judge"]

GRANTED: Final = "granted"
DENIED: Final = "denied"


@dataclass(frozen=True)
class Judged:
    """For n rows: codes (n, candidates + priority rules) uint8 in the policy's layout; winner and priority_rule
    (n,) index into the policy's candidates and priority rules, -1 for none; level (n,) of service priority.

    propensity: (n, candidates) the chance with which a rule was drawn, NaN where nothing was drawn. overridden: (n,) a
    person's word sets the level. renewed: (n, candidates) who has the offer already and is given it anew.
    """

    codes: np.ndarray
    winner: np.ndarray
    priority_rule: np.ndarray
    level: np.ndarray
    propensity: np.ndarray | None = None
    overridden: np.ndarray | None = None
    renewed: np.ndarray | None = None


def judge(
    frame: pl.DataFrame,
    policy: Policy,
    *,
    today: date,
    keys: Sequence[str],
    waiting: np.ndarray | None = None,
    around: Circumstances | None = None,
    levels: Levels | None = None,
    allowance: Allowance | None = None,
) -> Judged:
    """Judge all candidates on a decision frame that has its segment columns.

    keys: (n,) holdout keys. waiting: (n, candidates) True where the campaign may not come again yet. around: what
    counts besides the frame (None: nothing does). levels: what people said about service priorities. allowance: what
    is left of budgets and limits; None gives without counting.
    """
    profiled = _column(frame, "customer.is_profiled", default=True)
    count = len(policy.candidates)
    fits = _fits(frame, [*policy.candidates, *policy.priorities], today=today)
    codes = np.zeros((frame.height, count + len(policy.priorities)), dtype=np.uint8)
    gates = _Gates(frame, policy, keys, waiting, around, today)
    kept = np.zeros((frame.height, count), dtype=bool) if around is not None else None
    for index, candidate in enumerate(policy.candidates):
        code = _first_verdicts(candidate, fits[:, index], profiled)
        if around is not None and kept is not None and candidate.campaign.keeps:
            kept[:, index] = (code == Verdict.RULE_FALSE) & around.held[:, index]
            code[kept[:, index]] = Verdict.WON
        codes[:, index] = gates.codes(index, candidate, code)
    offers = codes[:, :count]
    propensity = choice.choose(offers, frame, policy, today=today, around=around)
    ranking = _Ranking(frame, policy, around, allowance, propensity)
    for index, candidate in enumerate(policy.candidates):
        ranking.place(index, candidate, offers[:, index])
    if kept is not None:
        offers[kept & (offers == Verdict.WON)] = Verdict.KEPT
    said = priorities(policy.priorities, fits[:, count:], profiled, gates.held_out, codes[:, count:], levels)
    return Judged(
        codes=codes,
        winner=ranking.winner,
        priority_rule=said.rule,
        level=said.level,
        propensity=propensity,
        overridden=said.overridden,
        renewed=ranking.renewed,
    )


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


def _first_verdicts(candidate: Candidate, fits: np.ndarray, profiled: np.ndarray) -> np.ndarray:
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
        self,
        frame: pl.DataFrame,
        policy: Policy,
        keys: Sequence[str],
        waiting: np.ndarray | None,
        around: Circumstances | None,
        today: date,
    ) -> None:
        self._waiting = waiting
        self._around = around
        self._today = today
        self._consent = _column(frame, "consent.marketing", default="unknown")
        self.held_out = holdouts.Drawn(policy.global_draw, keys)
        draws = {candidate.campaign.id: candidate.campaign.draw for candidate in policy.candidates}
        self._by_campaign = {key: holdouts.Drawn(draw, keys) for key, draw in draws.items()}

    def codes(self, index: int, candidate: Candidate, code: np.ndarray) -> np.ndarray:
        """`code` with WON replaced by the first gate that is shut."""
        campaign = candidate.campaign
        around = self._around
        if around is not None:
            self._shut(code, around.untriggered(index), Verdict.NOT_TRIGGERED)
        if not candidate.offer.is_active:
            code[code == Verdict.WON] = Verdict.OFFER_INACTIVE
        if not candidate.offer.is_given_on(self._today):
            has = around.held[:, index] if around is not None else np.zeros(len(code), dtype=bool)
            self._shut(code, ~has, Verdict.OFFER_NOT_NOW)
        lacking = self._consent != GRANTED if campaign.needs_consent else self._consent == DENIED
        self._shut(code, lacking, Verdict.NO_CONSENT)
        if around is not None:
            self._shut(code, around.suppressed(campaign.channel), Verdict.SUPPRESSED)
            self._shut(code, around.retold(index, Verdict.SUPPRESSED), Verdict.SUPPRESSED)
        code[self.held_out.among(code == Verdict.WON)] = Verdict.HELD_OUT_GLOBAL
        code[self._by_campaign[campaign.id].among(code == Verdict.WON)] = Verdict.HELD_OUT_CAMPAIGN
        if self._waiting is not None:
            # Who was given it beside another campaign has it, though the decision names the other.
            has = np.zeros(len(code), dtype=bool) if around is None else around.held[:, index]
            self._shut(code, self._waiting[:, index] & ~has, Verdict.RE_ENTRY_WAIT)
        if around is not None:
            self._shut(code, around.waiting(index), Verdict.RE_ENTRY_WAIT)
            self._shut(code, around.spent(index), Verdict.CUSTOMER_LIMIT)
            self._shut(code, around.outside(index), Verdict.OUTSIDE_HOURS)
            for verdict in (Verdict.RE_ENTRY_WAIT, Verdict.CUSTOMER_LIMIT, Verdict.OUTSIDE_HOURS):
                self._shut(code, around.retold(index, verdict), verdict)
        return code

    @staticmethod
    def _shut(code: np.ndarray, where: np.ndarray | None, verdict: Verdict) -> None:
        if where is not None:
            code[(code == Verdict.WON) & where] = verdict


class _Ranking:
    """Candidates in order: who comes first wins, who stacks comes beside, caps and limits turn the rest away."""

    def __init__(
        self,
        frame: pl.DataFrame,
        policy: Policy,
        around: Circumstances | None,
        allowance: Allowance | None,
        propensity: np.ndarray | None,
    ) -> None:
        self._frame = frame
        self._policy = policy
        self._around = around
        self._allowance = allowance
        self.winner = np.full(frame.height, -1, dtype=np.int64)
        self.renewed = (
            None if around is None else np.zeros((frame.height, len(policy.candidates)), dtype=bool)
        )
        self._open = np.ones(frame.height, dtype=bool)  # all winners so far may come beside others
        self._groups: dict[str, np.ndarray] = {}
        self._campaigns: dict[int, np.ndarray] = {}
        self._used = {} if around is None else {cap.id: around.used(cap) for cap in policy.caps}

    def place(self, index: int, candidate: Candidate, code: np.ndarray) -> None:
        """Judge `code` (n,) in place against everybody who was placed before."""
        open_ = code == Verdict.WON
        if not open_.any():
            return
        campaign = candidate.campaign
        free = self.winner < 0
        beside = ~free & self._open & campaign.stacks & ~self._taken(self._campaigns, campaign.id)
        excluded = beside & (
            self._taken(self._groups, campaign.exclusive_group)
            if campaign.exclusive_group
            else np.zeros(len(code), dtype=bool)
        )
        code[open_ & ~free & ~beside] = Verdict.OUTRANKED
        code[open_ & excluded] = Verdict.EXCLUDED
        wins = open_ & (free | (beside & ~excluded))
        if self._around is not None:
            wins &= self._admit(index, candidate, code, wins)
        code[wins & ~free] = Verdict.BESIDE
        self.winner[wins & free] = index
        if campaign.stacks:
            self._note(self._campaigns, campaign.id, wins)
            if campaign.exclusive_group:
                self._note(self._groups, campaign.exclusive_group, wins)
        else:
            self._open &= ~wins

    def _admit(self, index: int, candidate: Candidate, code: np.ndarray, wins: np.ndarray) -> np.ndarray:
        """(n,) who of `wins` may have it as far as caps and limits go; who has it already keeps it."""
        around, renewed = self._around, self.renewed
        if around is None or renewed is None or candidate.campaign.id not in self._policy.counted:
            return wins
        held = around.held[:, index]
        again = wins & held & around.renewable(index)
        asks = (wins & ~held) | again
        turned = around.remembered(index, asks)
        code[turned > 0] = turned[turned > 0]
        asks &= turned == 0
        for cap in self._policy.caps:
            if cap.covers(candidate.campaign):
                full = asks & (self._used[cap.id] >= cap.most)
                code[full] = Verdict.CAPPED
                asks &= ~full
        asks = self._limited(index, candidate, code, asks)
        for cap in self._policy.caps:
            if cap.covers(candidate.campaign):
                self._used[cap.id][asks] += 1
        # Who is turned away from a renewal keeps what they have.
        code[again & ~asks] = Verdict.WON
        renewed[:, index] = again & asks
        return (wins & held) | asks

    def _limited(self, index: int, candidate: Candidate, code: np.ndarray, asks: np.ndarray) -> np.ndarray:
        if self._allowance is None or not asks.any():
            return asks
        rows = np.flatnonzero(asks)
        order = choice.eager(self._frame, candidate, rows)
        got, reason = self._allowance.take(index, candidate, len(rows))
        left = rows[order][got:]
        code[left] = reason
        admitted = asks.copy()
        admitted[left] = False
        return admitted

    def _taken(self, taken: dict[Any, np.ndarray], key: Any) -> np.ndarray:
        found = taken.get(key)
        return np.zeros(len(self.winner), dtype=bool) if found is None else found

    def _note(self, taken: dict[Any, np.ndarray], key: Any, wins: np.ndarray) -> None:
        taken[key] = self._taken(taken, key) | wins


def _column(frame: pl.DataFrame, name: str, *, default: bool | str) -> np.ndarray:
    if name not in frame.columns:
        return np.full(frame.height, default)
    values = frame[name]
    if values.null_count():
        values = values.fill_null(default if isinstance(default, str) else False)
    return values.to_numpy()
