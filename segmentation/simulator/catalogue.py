"""The shop's products: prices, launch dates, and how a shopper picks one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .clock import Clock, Floats
from .config import SimulationConfig
from .streams import Stream, generator
from .words import CATEGORIES, PRODUCT_STYLES

Ints = NDArray[np.int64]

PRODUCTS_PER_CATEGORY = 25
LATE_LAUNCH_SHARE = 0.25
NEW_FOR_DAYS = 75.0
_KEY_STEP = 10_000_000  # above any price in minor units, so (category, price) sorts as one number


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Products in order of category, then price. Arrays are (products,) unless said otherwise."""

    ids: tuple[str, ...]
    names: tuple[str, ...]
    category: Ints
    price: Ints  # minor units
    launched: Floats  # days since the clock's origin; minus infinity: always sold
    fallback: Ints  # the nearest product of the category that was always sold
    best_sellers: Ints  # (categories, 3)
    new_in_order: Ints  # late launches, oldest first

    def nearest(self, category: Ints, price: Floats) -> Ints:
        """The dearest product of each category that costs no more than `price`, or its cheapest."""
        keys = self.category * _KEY_STEP + self.price
        wanted = category * _KEY_STEP + np.clip(price, 0, _KEY_STEP - 1).astype(np.int64)
        position = np.searchsorted(keys, wanted, side="right") - 1
        first = category * PRODUCTS_PER_CATEGORY
        return np.maximum(position, first)

    def on_sale(self, product: Ints, time: Floats) -> Ints:
        return np.where(self.launched[product] <= time, product, self.fallback[product])

    def newest(self, rank: Ints, time: Floats) -> Ints:
        """The product launched `rank` launches before `time`; -1 where none is still new."""
        dates = self.launched[self.new_in_order]
        position = np.searchsorted(dates, time, side="right") - 1 - rank
        candidate = np.maximum(position, 0)
        fresh = (position >= 0) & (time - dates[candidate] <= NEW_FOR_DAYS)
        return np.where(fresh, self.new_in_order[candidate], -1)


def build(config: SimulationConfig, clock: Clock) -> Catalogue:
    rng = generator(config.seed, Stream.CATALOGUE)
    count = len(CATEGORIES) * PRODUCTS_PER_CATEGORY
    category = np.repeat(np.arange(len(CATEGORIES)), PRODUCTS_PER_CATEGORY)
    price = _prices(rng, category, config.decimals)
    order = np.lexsort((price, category))
    price = price[order]
    launched = np.where(
        rng.random(count) < LATE_LAUNCH_SHARE, rng.uniform(clock.start, clock.horizon, count), -np.inf
    )
    launched[::PRODUCTS_PER_CATEGORY] = -np.inf  # the cheapest of each category is always there
    late = np.flatnonzero(np.isfinite(launched))
    return Catalogue(
        ids=tuple(f"P{number:04d}" for number in range(1, count + 1)),
        names=_names(rng),
        category=category,
        price=price,
        launched=launched,
        fallback=_fallbacks(launched),
        best_sellers=_best_sellers(rng, launched),
        new_in_order=late[np.argsort(launched[late])],
    )


def _prices(rng: np.random.Generator, category: Ints, decimals: int) -> Ints:
    typical = np.array([price for price, _ in CATEGORIES.values()])[category]
    price = np.maximum(typical * rng.lognormal(-0.25, 0.75, len(category)), 1.5)
    if decimals == 0:  # one pound is roughly a hundred of a currency without minor units
        return np.maximum(np.round(price * 10), 1).astype(np.int64) * 10
    return (np.ceil(price * 2) * 50 - 1).astype(np.int64)  # 3.49, 3.99, 4.49 …


def _names(rng: np.random.Generator) -> tuple[str, ...]:
    names: list[str] = []
    for _, nouns in CATEGORIES.values():
        pairs = [(style, noun) for noun in nouns for style in PRODUCT_STYLES]
        chosen = rng.permutation(len(pairs))[:PRODUCTS_PER_CATEGORY]
        names.extend(" ".join(pairs[index]) for index in chosen)
    return tuple(names)


def _fallbacks(launched: Floats) -> Ints:
    always = np.flatnonzero(np.isneginf(launched))
    everyone = np.arange(len(launched))
    # The cheapest of a category is always sold, so the nearest cheaper one stays in the category.
    return always[np.searchsorted(always, everyone, side="right") - 1]


def _best_sellers(rng: np.random.Generator, launched: Floats) -> Ints:
    rows = []
    for first in range(0, len(launched), PRODUCTS_PER_CATEGORY):
        always = np.flatnonzero(np.isneginf(launched[first : first + PRODUCTS_PER_CATEGORY])) + first
        rows.append(rng.choice(always, 3, replace=False))
    return np.array(rows)
