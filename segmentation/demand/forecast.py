"""Pieces that will be bought in the coming weeks: group sizes × what a head buys, as groups move on.

    size(k + 1) = size(k) · M,   expected = Σ over the horizon of size(k) · rate

M and rate are those of the last weeks. The interval draws those weeks again (what we know), and then pieces around what
is expected from a gamma-Poisson of the weeks' own spread (what nobody knows).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from segmentation.demand.groups import Tallies

# Weeks that rates and moves are taken from, and the fewest that say anything.
WINDOW: Final = 26
FEWEST_WEEKS: Final = 13
DRAWS: Final = 300
LOW: Final = 0.1
HIGH: Final = 0.9
TESTS: Final = 4
# Of a product with too few sales to show its own: the week's spread is its mean times this, beyond the Poisson part.
SPREAD: Final = 0.25


@dataclass(frozen=True)
class Forecast:
    """(P,) each, in pieces: what is expected and where eight of ten outcomes lie. sizes: (G,) at the end."""

    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sizes: np.ndarray


@dataclass(frozen=True)
class Check:
    """Forecasts of past weeks beside what came. origins: the weeks they were made at, the newest last.

    error, plain_error: sum of the misses over the sum of what was bought; plain: "the same as the last weeks". closer: in
    how many of the tests the forecast missed by less. inside: share of outcomes within their interval.
    """

    origins: tuple[int, ...]
    error: float
    plain_error: float
    closer: int
    inside: float

    @property
    def is_better(self) -> bool:
        return bool(self.error < self.plain_error)


def weeks_needed(horizon: int) -> int:
    """Weeks of orders without which nothing is said: enough to learn from, and to test on."""
    return FEWEST_WEEKS + 2 * horizon


def expect(
    tallies: Tallies, *, origin: int, horizon: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """((P,) expected pieces of the weeks from `origin` on, (G,) sizes after them), from the weeks before it alone.

    weights: of the weeks of the window, the oldest first; none: all count alike.
    """
    window = window_of(origin)
    weights = np.ones(window) if weights is None else weights
    rows = slice(origin - window, origin)
    heads = weights @ tallies.sizes[rows]
    shown = np.maximum(heads, 1e-9)[:, None]
    rate = np.tensordot(weights, tallies.units[rows], axes=1) / shown
    moves = np.tensordot(weights, tallies.moves[rows], axes=1) / shown
    # Nobody was seen in the group: whoever is in it now stays there.
    unseen = heads <= 0
    moves[unseen] = np.eye(len(heads))[unseen]
    size, total = tallies.sizes[origin], np.zeros(tallies.units.shape[2])
    for _week in range(horizon):
        total = total + size @ rate
        size = size @ moves
    return total, size


def forecast(tallies: Tallies, *, origin: int, horizon: int, seed: int, draws: int = DRAWS) -> Forecast:
    expected, sizes = expect(tallies, origin=origin, horizon=horizon)
    rng = np.random.default_rng(seed)
    window = window_of(origin)
    spread = _spread(tallies.units[origin - window : origin].sum(axis=1)) / horizon
    outcomes = np.empty((draws, len(expected)))
    for row in range(draws):
        weights = rng.multinomial(window, np.full(window, 1 / window)).astype(float)
        mean, _after = expect(tallies, origin=origin, horizon=horizon, weights=weights)
        outcomes[row] = rng.poisson(rng.gamma(1 / spread, np.maximum(mean, 1e-9) * spread))
    low, high = np.quantile(outcomes, (LOW, HIGH), axis=0)
    return Forecast(expected, np.minimum(low, expected), np.maximum(high, expected), sizes)


def check(tallies: Tallies, *, horizon: int, seed: int) -> Check:
    """Up to TESTS forecasts of past weeks that do not overlap. Needs `weeks_needed` weeks."""
    ends = [tallies.weeks - horizon * back for back in range(TESTS)]
    origins = [end - horizon for end in ends if end - horizon >= FEWEST_WEEKS][::-1]
    missed = plain_missed = bought = inside = 0.0
    closer = 0
    for origin in origins:
        found = forecast(tallies, origin=origin, horizon=horizon, seed=seed, draws=100)
        actual, plain = (
            units_of(tallies, origin, origin + horizon),
            units_of(tallies, origin - horizon, origin),
        )
        own, other = np.abs(found.expected - actual).sum(), np.abs(plain - actual).sum()
        closer += int(own < other)
        missed, plain_missed, bought = missed + own, plain_missed + other, bought + actual.sum()
        inside += float(((found.low <= actual) & (actual <= found.high)).mean()) / len(origins)
    bought = max(float(bought), 1.0)
    return Check(tuple(origins), float(missed) / bought, float(plain_missed) / bought, closer, inside)


def units_of(tallies: Tallies, start: int, end: int) -> np.ndarray:
    """(P,) pieces bought in the weeks from `start` to before `end`."""
    return np.asarray(tallies.units[start:end].sum(axis=(0, 1)))


def window_of(origin: int) -> int:
    return min(WINDOW, origin)


def _spread(weekly: np.ndarray) -> np.ndarray:
    """(P,) squared coefficient of variation of the weeks beyond a Poisson's, half its own and half that of all."""
    mean, variance = weekly.mean(axis=0), weekly.var(axis=0, ddof=1)
    own = np.maximum(variance - mean, 0.0) / np.maximum(mean, 1e-9) ** 2
    often = mean >= 1
    usual = float(np.median(own[often])) if often.any() else SPREAD
    return np.asarray(np.maximum(np.where(often, (own + usual) / 2, max(usual, SPREAD)), 1e-3))
