"""What is in an order: lines of products whose paid total follows the Gamma-Gamma model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import parameters as p
from .catalogue import Catalogue
from .clock import Floats
from .population import Ints, Tastes
from .words import CATEGORIES

MOST_LINES = 9
DISCOUNTS = np.array([0.1, 0.15, 0.2, 0.3])
BEST_SELLER_SHARE = 0.25
BEST_SELLER_WEIGHTS = np.array([0.55, 0.3, 0.15])


@dataclass(frozen=True, eq=False)
class Lines:
    """Order lines sorted by order; each array (lines,). Money in minor units."""

    order: Ints
    product: Ints
    quantity: Ints
    unit_price: Ints
    discount: Ints

    @property
    def paid(self) -> Ints:
        return self.quantity * self.unit_price - self.discount


def draw(
    rng: np.random.Generator, *, tastes: Tastes, owner: Ints, time: Floats, catalogue: Catalogue
) -> Lines:
    """Lines for the orders of `owner` at `time` (both (orders,)).

    The total of an order is gamma with shape `SPEND_SHAPE` around the owner's mean; quantities are rounded
    at random so that the expectation is kept.
    """
    n = len(owner)
    total = tastes.mean_spend[owner] * rng.gamma(p.SPEND_SHAPE, 1 / p.SPEND_SHAPE, n)
    count = np.minimum(1 + rng.poisson(tastes.extra_lines[owner]), MOST_LINES)
    order = np.repeat(np.arange(n), count)
    weight = rng.gamma(2.0, 1.0, len(order))
    target = total[order] * weight / np.bincount(order, weight, n)[order]
    rate = np.where(rng.random(n) < tastes.discount[owner], rng.choice(DISCOUNTS, n), 0.0)[order]
    gross = target / (1 - rate)
    product = choose(
        rng, tastes=tastes, owner=owner[order], time=time[order], budget=gross, catalogue=catalogue
    )
    unit_price = catalogue.price[product]
    quantity = np.clip(_round_at_random(rng, gross / unit_price), 1, 500)
    return Lines(
        order, product, quantity, unit_price, np.round(rate * quantity * unit_price).astype(np.int64)
    )


def choose(
    rng: np.random.Generator,
    *,
    tastes: Tastes,
    owner: Ints,
    time: Floats,
    budget: Floats,
    catalogue: Catalogue,
) -> Ints:
    """A product for each line: usually of a favoured category at a fitting price; sometimes a best seller,
    and for those who like novelty one of the latest launches."""
    n = len(owner)
    category = _category(rng, tastes, owner)
    dearest = catalogue.nearest(category, budget * np.where(tastes.bulk[owner], 0.15, 1.0))
    cheapest = catalogue.nearest(category, budget * np.where(tastes.bulk[owner], 0.02, 0.25))
    product = cheapest + (rng.random(n) * (dearest - cheapest + 1)).astype(np.int64)
    rank = rng.choice(3, n, p=BEST_SELLER_WEIGHTS)
    popular = catalogue.best_sellers[category, rank]
    affordable = (catalogue.price[popular] <= budget) & (rng.random(n) < BEST_SELLER_SHARE)
    product = catalogue.on_sale(np.where(affordable, popular, product), time)
    return _prefer_new(
        rng,
        product,
        wants=rng.random(n) < tastes.novelty[owner],
        time=time,
        budget=budget,
        catalogue=catalogue,
    )


def _prefer_new(
    rng: np.random.Generator,
    product: Ints,
    *,
    wants: np.ndarray,
    time: Floats,
    budget: Floats,
    catalogue: Catalogue,
) -> Ints:
    first = rng.integers(0, 3, len(product))
    for step in range(4):  # the latest few launches, until one fits the budget
        candidate = catalogue.newest(first + step, time)
        fits = wants & (candidate >= 0) & (catalogue.price[candidate] <= budget)
        product = np.where(fits, candidate, product)
        wants = wants & ~fits
    return product


def _category(rng: np.random.Generator, tastes: Tastes, owner: Ints) -> Ints:
    u = rng.random(len(owner))
    anything = rng.integers(0, len(CATEGORIES), len(owner))
    return np.where(
        u < 0.5, tastes.first_category[owner], np.where(u < 0.75, tastes.second_category[owner], anything)
    )


def _round_at_random(rng: np.random.Generator, value: Floats) -> Ints:
    whole = np.floor(value)
    return (whole + (rng.random(len(value)) < value - whole)).astype(np.int64)
