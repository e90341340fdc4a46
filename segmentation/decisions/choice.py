"""Which of a campaign's rules counts where several are open: by order, by expected gain, or by a draw.

Expected gain = uplift times margin minus cost, in minor units. A draw is Thompson sampling: each rule's success rate
has a Beta(1 + successes, 1 + failures) belief, and a rule is drawn with the chance that it is the best one. That chance
is worked out by quadrature, held above a floor, and kept with what was given, so that other policies can be judged by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl

from segmentation.decisions.circumstances import Circumstances
from segmentation.decisions.codes import Verdict
from segmentation.decisions.policy import Candidate, Policy
from segmentation.ml import budget
from segmentation.ml.splits import stable_share
from segmentation.models import Campaign

Choice = Campaign.Choice
# Nobody is drawn with less, so that what was seldom given can still be judged.
LEAST_SHARE: Final = 0.02
_POINTS: Final = 2001


def choose(
    codes: np.ndarray, frame: pl.DataFrame, policy: Policy, *, today: date, around: Circumstances | None
) -> np.ndarray | None:
    """Leave WON in `codes` (n, candidates) only where a campaign's choice falls; who has an offer keeps their rule.

    Returns (n, candidates) the chance of the rule that was drawn, NaN elsewhere; None where nothing is drawn.
    """
    rules: dict[int, list[int]] = defaultdict(list)
    for index, candidate in enumerate(policy.candidates):
        if candidate.campaign.choice != Choice.ORDER:
            rules[candidate.campaign.id].append(index)
    if not rules:
        return None
    propensity = np.full(codes.shape, np.nan)
    for indexes in rules.values():
        open_ = codes[:, indexes] == Verdict.WON
        held = np.zeros_like(open_) if around is None else around.held[:, indexes]
        if around is not None and around.told is not None:
            # A replay: what was not chosen then is not chosen now.
            for verdict in (Verdict.NOT_CHOSEN, Verdict.BELOW_FLOOR):
                _shut(codes, indexes, open_ & (around.told[:, indexes] == verdict), verdict)
            open_ = codes[:, indexes] == Verdict.WON
        candidates = [policy.candidates[index] for index in indexes]
        if candidates[0].campaign.choice == Choice.VALUE:
            _by_value(codes, indexes, open_, held, frame, candidates)
        else:
            propensity[:, indexes] = _by_draw(codes, indexes, open_, held, frame, candidates, today)
    return propensity


def gains(frame: pl.DataFrame, candidate: Candidate) -> np.ndarray:
    """(n,) uplift times margin in minor units, before the cost. Where a customer has none of their own (no score), the
    rule's one number for everybody counts; 0 where it says none.
    """
    worth = candidate.worth
    uplift = np.full(frame.height, 0.0 if worth.uplift is None else worth.uplift)
    if worth.uplift_field and worth.uplift_field in frame.columns:
        own = frame[worth.uplift_field].cast(pl.Float64).fill_nan(None).to_numpy()
        uplift = np.where(np.isfinite(own), own, uplift)
    return uplift * worth.margin_minor


def ratios(frame: pl.DataFrame, candidate: Candidate) -> np.ndarray:
    """(n,) expected gain for each unit of money that the offer costs; infinite where it costs nothing and brings some."""
    gain = gains(frame, candidate)
    if not candidate.offer.cost_minor:
        return np.where(gain > 0, np.inf, gain)
    return gain / candidate.offer.cost_minor


def eager(frame: pl.DataFrame, candidate: Candidate, rows: np.ndarray) -> np.ndarray:
    """(k,) the order in which `rows` (k,) get what is left: by gain for the money, else as they come."""
    if candidate.campaign.choice != Choice.VALUE:
        return np.arange(len(rows))
    return np.argsort(-ratios(frame, candidate)[rows], kind="stable")


def _by_value(
    codes: np.ndarray,
    indexes: Sequence[int],
    open_: np.ndarray,
    held: np.ndarray,
    frame: pl.DataFrame,
    candidates: Sequence[Candidate],
) -> None:
    """What brings most at the price that the budget puts on money (ml/budget.py): 1 while it reaches everybody."""
    gain = np.column_stack([gains(frame, c) for c in candidates])
    cost = np.array([float(c.offer.cost_minor) for c in candidates])
    floor = candidates[0].campaign.floor_ratio
    worth = held | (gain > cost)
    _shut(codes, indexes, open_ & ~worth, Verdict.NOT_WORTH)
    enough = worth
    if floor is not None:
        enough = held | (np.column_stack([ratios(frame, c) for c in candidates]) >= floor)
        _shut(codes, indexes, open_ & worth & ~enough, Verdict.BELOW_FLOOR)
    left = open_ & worth & enough
    best = np.where(left, budget.at_price(gain, cost, floor), -np.inf)
    best[left & held] = np.inf
    _shut(codes, indexes, left & ~_one(best.argmax(axis=1), left.shape), Verdict.NOT_CHOSEN)


def _by_draw(
    codes: np.ndarray,
    indexes: Sequence[int],
    open_: np.ndarray,
    held: np.ndarray,
    frame: pl.DataFrame,
    candidates: Sequence[Candidate],
    today: date,
) -> np.ndarray:
    """(n, rules) chances of what was drawn."""
    chances = np.full(open_.shape, np.nan)
    salt = candidates[0].campaign.id * 100_003 + today.toordinal()
    point = stable_share(frame["customer_id"].to_numpy(), salt=salt)
    drawn = np.zeros(len(point), dtype=np.int64)
    records = [(c.worth.tried, c.worth.succeeded) for c in candidates]
    for pattern in np.unique(open_, axis=0):
        arms = np.flatnonzero(pattern)
        if not len(arms):
            continue
        rows = (open_ == pattern).all(axis=1)
        shares = chances_of(tuple(records[arm] for arm in arms))
        drawn[rows] = arms[np.searchsorted(np.cumsum(shares)[:-1], point[rows], side="right")]
        full = np.zeros(open_.shape[1])
        full[arms] = shares
        chances[rows] = full
    has = (open_ & held).any(axis=1)
    drawn[has] = (open_ & held)[has].argmax(axis=1)
    picked = _one(drawn, open_.shape)
    _shut(codes, indexes, open_ & ~picked, Verdict.NOT_CHOSEN)
    return np.where(open_ & picked & ~has[:, None], chances, np.nan)


@lru_cache(maxsize=256)
def chances_of(records: tuple[tuple[int, int], ...]) -> tuple[float, ...]:
    """For rules with (tried, succeeded): the chance that each has the highest rate, none below LEAST_SHARE."""
    if len(records) == 1:
        return (1.0,)
    grid = np.linspace(0, 1, _POINTS)[1:-1]
    logs = np.array([s * np.log(grid) + (n - s) * np.log1p(-grid) for n, s in records])
    density = np.exp(logs - logs.max(axis=1, keepdims=True))
    density /= density.sum(axis=1, keepdims=True)
    # Half of a point's own weight: equal beliefs are equally likely to be the best.
    below = np.cumsum(density, axis=1) - density / 2
    best = np.array(
        [(density[i] * np.prod(np.delete(below, i, axis=0), axis=0)).sum() for i in range(len(records))]
    )
    shares = np.maximum(best / best.sum(), LEAST_SHARE)
    return tuple(shares / shares.sum())


def _one(column: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    picked = np.zeros(shape, dtype=bool)
    picked[np.arange(shape[0]), column] = True
    return picked


def _shut(codes: np.ndarray, indexes: Sequence[int], where: np.ndarray, verdict: Verdict) -> None:
    for place, index in enumerate(indexes):
        codes[where[:, place], index] = verdict
