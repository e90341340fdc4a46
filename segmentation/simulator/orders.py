"""When customers order and when they stop: a Poisson process in operational time, with a coin after each order.

BG/NBD family, in the variant where the first order may already be the last (MBG/NBD, Batislam, Denizel and
Filiztekin 2007), with covariates and with an order's own experience moving the coin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import parameters as p
from .clock import Clock, Floats
from .population import Bools, Ints, Population

MOST_ORDERS = 2_000


@dataclass(frozen=True, eq=False)
class Orders:
    """Orders up to the horizon, sorted by owner and time; each array (orders,)."""

    owner: Ints
    position: Ints  # 0 for the owner's first order ever
    time: Floats
    experience: Floats  # this order's luck, in satisfaction points
    problem: Bools  # something went wrong with the delivery
    last: Bools  # the owner stops after this one

    def __len__(self) -> int:
        return len(self.owner)

    def take(self, keep: NDArray[np.bool_]) -> Orders:
        return Orders(
            owner=self.owner[keep],
            position=self.position[keep],
            time=self.time[keep],
            experience=self.experience[keep],
            problem=self.problem[keep],
            last=self.last[keep],
        )


def draw(rng: np.random.Generator, people: Population, clock: Clock) -> Orders:
    first = people.joined + people.first_order_delay
    buyers = np.flatnonzero(first < clock.horizon)
    a, b = people.season, people.weekend
    begin = clock.operational(first[buyers], a[buyers], b[buyers])
    finish = clock.operational(np.full(len(buyers), clock.horizon), a[buyers], b[buyers])
    count = _enough((finish - begin) * people.rate[buyers])
    row = np.repeat(np.arange(len(buyers)), count)
    owner = buyers[row]
    experience, problem = draw_experience(rng, len(owner))
    last = rng.random(len(owner)) < dropout_probability(people.dropout_logit[owner], experience)
    position = _position(count)
    gap = np.where(position == 0, 0.0, rng.exponential(1.0, len(owner)) / people.rate[owner])
    time_passed = begin[row] + _sum_within(gap, count)
    stopped_before = _sum_within(last.astype(np.float64), count) - last > 0
    keep = ~stopped_before & (time_passed < finish[row])
    owner = owner[keep]
    time = clock.calendar(time_passed[keep], a[owner], b[owner])
    return Orders(owner, position[keep], time, experience[keep], problem[keep], last[keep])


def draw_experience(rng: np.random.Generator, n: int) -> tuple[Floats, Bools]:
    problem = rng.random(n) < p.PROBLEM_SHARE
    return rng.normal(0, p.EXPERIENCE_SD, n) - p.PROBLEM_COST * problem, problem


def dropout_probability(logit: Floats, experience: Floats) -> Floats:
    return 1 / (1 + np.exp(-(logit + p.DROPOUT_PER_EXPERIENCE * experience)))


def mean_dropout_probability(logit: Floats) -> Floats:
    """The probability of stopping after an order whose experience is not known yet: the mean over
    experiences, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    weights = weights / weights.sum()
    ordinary = dropout_probability(logit[:, None], p.EXPERIENCE_SD * nodes) @ weights
    spoilt = dropout_probability(logit[:, None], p.EXPERIENCE_SD * nodes - p.PROBLEM_COST) @ weights
    return (1 - p.PROBLEM_SHARE) * ordinary + p.PROBLEM_SHARE * spoilt


def _enough(expected: Floats) -> Ints:
    """First order plus more repeats than a Poisson count of this mean reaches in practice (6 sigma)."""
    return np.minimum(np.ceil(expected + 6 * np.sqrt(expected) + 7), MOST_ORDERS).astype(np.int64)


def _position(count: Ints) -> Ints:
    return np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)


def _sum_within(values: Floats, count: Ints) -> Floats:
    """Running sums that start anew in every group of `count` values."""
    total = np.cumsum(values)
    start = np.cumsum(count) - count
    before = np.where(start > 0, total[np.maximum(start, 1) - 1], 0.0)
    return total - np.repeat(before, count)
