"""Visits to the shop: what people look at, put aside, put in and take out of the cart, and in which order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segmentation.kinds import EventKind

from . import baskets
from .baskets import Lines
from .catalogue import Catalogue
from .clock import SECONDS_A_DAY, Clock, Floats
from .lines import EventLines, concatenate, event_lines
from .orders import Orders
from .population import Bools, Ints, Population

INTENT_DAYS = 45.0
FADE_DAYS = 35.0  # how long visits go on, on average, after the last order
NEVER_BUYER_DAYS = 120.0
BEFORE_ORDER_SHARE = 0.45
BEFORE_ORDER_DAYS = (0.3, 12.0)
TRACKED_ORDER_SHARE = 0.5
SEARCH_SHARE = 0.1
SECONDS_BETWEEN = (20, 180)

# Kinds of visit and how likely each is: looking only, putting aside, taking out.
SHARES_WITH_INTENT = np.array([0.27, 0.53, 0.20])
SHARES_WITHOUT_INTENT = np.array([0.52, 0.23, 0.25])
SHARES_NO_SIGNAL = np.array([0.42, 0.35, 0.23])
WARM_WITH_INTENT = 0.85
WARM_WITHOUT_INTENT = 0.2
WARM_NO_SIGNAL = 0.5

_V, _F, _C, _R = EventKind.VIEWED, EventKind.FAVOURITED, EventKind.CART_ADDED, EventKind.CART_REMOVED
_NOTHING = 0
# [kind of visit, warm?]: four steps. The warm and the cool form of a visit hold the same events, so that
# only their order tells them apart, not any count.
STEP_KINDS = np.array(
    [
        [[_V, _V, _V, _NOTHING], [_V, _V, _V, _NOTHING]],
        [[_C, _V, _F, _V], [_V, _F, _V, _C]],
        [[_V, _V, _C, _R], [_V, _C, _R, _V]],
    ]
)
# Which of the visit's two products a step concerns; looking twice at the same one is the warm form.
STEP_PRODUCTS = np.array(
    [
        [[0, 0, 1, 0], [0, 1, 0, 0]],
        [[0, 1, 0, 0], [0, 0, 1, 0]],
        [[1, 0, 0, 0], [0, 0, 0, 1]],
    ]
)


@dataclass(frozen=True, eq=False)
class _Visits:
    owner: Ints
    time: Floats
    product: Ints  # -1: to be chosen


def draw(
    rng: np.random.Generator,
    *,
    people: Population,
    orders: Orders,
    lines: Lines,
    catalogue: Catalogue,
    clock: Clock,
    signal: bool,
) -> EventLines:
    """Visits between the orders, visits shortly before an order, and the visit that ends in the order."""
    plain = _plain_visits(rng, people, orders, clock)
    before = _visits_before_orders(rng, orders, _first_products(orders, lines))
    visits = _Visits(
        np.concatenate([plain.owner, before.owner]),
        np.concatenate([plain.time, before.time]),
        np.concatenate([plain.product, before.product]),
    )
    keep = (visits.time >= np.maximum(people.joined[visits.owner], clock.start)) & (visits.time < clock.end)
    visits = _Visits(visits.owner[keep], visits.time[keep], visits.product[keep])
    steps = _steps(rng, visits, people=people, orders=orders, catalogue=catalogue, clock=clock, signal=signal)
    checkouts = _checkout_visits(rng, people=people, orders=orders, lines=lines, clock=clock)
    return concatenate([steps, checkouts])


def has_intent(orders: Orders, owner: Ints, time: Floats) -> Bools:
    """Whether the owner's next order comes within `INTENT_DAYS` of `time`."""
    if len(orders) == 0:
        return np.zeros(len(owner), dtype=bool)
    step = 1e6  # more days than any window has
    position = np.searchsorted(orders.owner * step + orders.time, owner * step + time)
    candidate = np.minimum(position, len(orders) - 1)
    return (
        (position < len(orders))
        & (orders.owner[candidate] == owner)
        & (orders.time[candidate] - time <= INTENT_DAYS)
    )


def stopping_time(people: Population, orders: Orders, clock: Clock) -> Floats:
    """When interest begins to fade: the last order of those who stop, the sign-up of those who never buy."""
    stop = np.where(np.isinf(people.first_order_delay), people.joined, clock.horizon)
    stop[orders.owner[orders.last]] = orders.time[orders.last]
    return stop


def _plain_visits(rng: np.random.Generator, people: Population, orders: Orders, clock: Clock) -> _Visits:
    stop = stopping_time(people, orders, clock)
    active = np.maximum(np.minimum(stop, clock.end) - people.joined, 0)
    during = np.repeat(np.arange(len(people)), rng.poisson(people.browsing * active))
    time = people.joined[during] + rng.random(len(during)) * active[during]
    fade = np.where(np.isinf(people.first_order_delay), NEVER_BUYER_DAYS, FADE_DAYS)
    fade = np.where(stop < clock.horizon, fade, 0.0)
    after = np.repeat(np.arange(len(people)), rng.poisson(people.browsing * fade))
    late = stop[after] + rng.exponential(1.0, len(after)) * fade[after]
    owner = np.concatenate([during, after])
    return _Visits(owner, np.concatenate([time, late]), np.full(len(owner), -1, dtype=np.int64))


def _visits_before_orders(rng: np.random.Generator, orders: Orders, product: Ints) -> _Visits:
    chosen = rng.random(len(orders)) < BEFORE_ORDER_SHARE
    early = rng.uniform(*BEFORE_ORDER_DAYS, len(orders))
    return _Visits(orders.owner[chosen], (orders.time - early)[chosen], product[chosen])


def _first_products(orders: Orders, lines: Lines) -> Ints:
    return lines.product[np.searchsorted(lines.order, np.arange(len(orders)))]


def _steps(
    rng: np.random.Generator,
    visits: _Visits,
    *,
    people: Population,
    orders: Orders,
    catalogue: Catalogue,
    clock: Clock,
    signal: bool,
) -> EventLines:
    n = len(visits.owner)
    intent = has_intent(orders, visits.owner, visits.time)
    u = rng.random((2, n))
    if signal:
        shares = np.where(intent[:, None], SHARES_WITH_INTENT, SHARES_WITHOUT_INTENT)
        warm = u[0] < np.where(intent, WARM_WITH_INTENT, WARM_WITHOUT_INTENT)
    else:
        shares = np.broadcast_to(SHARES_NO_SIGNAL, (n, 3))
        warm = u[0] < WARM_NO_SIGNAL
    form = np.minimum((u[1][:, None] > np.cumsum(shares, axis=1)).sum(axis=1), 2)
    kinds = STEP_KINDS[form, warm.astype(np.int64)].astype(np.int64)
    searched = (form == 0) & (rng.random(n) < SEARCH_SHARE)
    kinds[searched, 0] = int(EventKind.SEARCHED)
    products = _two_products(rng, visits, people=people, catalogue=catalogue)
    products = np.take_along_axis(products, STEP_PRODUCTS[form, warm.astype(np.int64)], axis=1)
    waits = rng.integers(*SECONDS_BETWEEN, (n, 4))
    seconds = clock.seconds(visits.time)[:, None] + np.cumsum(waits, axis=1) - waits[:, :1]
    return _flatten(visits.owner, seconds, kinds, products, catalogue, clock)


def _two_products(
    rng: np.random.Generator, visits: _Visits, *, people: Population, catalogue: Catalogue
) -> Ints:
    """(visits, 2): the product wanted and another one."""
    owner = np.repeat(visits.owner, 2)
    time = np.repeat(visits.time, 2)
    picked = baskets.choose(
        rng,
        tastes=people.tastes,
        owner=owner,
        time=time,
        budget=people.tastes.mean_spend[owner] * 0.7,
        catalogue=catalogue,
    ).reshape(-1, 2)
    wanted = np.where(visits.product >= 0, catalogue.on_sale(visits.product, visits.time), picked[:, 0])
    return np.column_stack([wanted, picked[:, 1]])


def _flatten(
    owner: Ints, seconds: Ints, kinds: Ints, products: Ints, catalogue: Catalogue, clock: Clock
) -> EventLines:
    """(visits, 4) steps → lines; a visit that runs past the end is cut there."""
    keep = ((kinds != _NOTHING) & (seconds < int(clock.end) * SECONDS_A_DAY)).ravel()
    kind, product = kinds.ravel()[keep], products.ravel()[keep]
    in_cart = np.isin(kind, (_C, _R))
    words = np.full(len(kind), None, dtype=object)
    searched = np.flatnonzero(kind == EventKind.SEARCHED)
    words[searched] = [catalogue.names[index].split(" ", 1)[1].lower() for index in product[searched]]
    product = np.where(kind == EventKind.SEARCHED, -1, product)
    return event_lines(
        owner=np.repeat(owner, kinds.shape[1])[keep],
        second=seconds.ravel()[keep],
        kind=kind,
        product=product,
        quantity=np.where(in_cart, 1, -1),
        unit_price=np.where(in_cart, catalogue.price[product], -1),
        text=words.tolist(),
    )


def _checkout_visits(
    rng: np.random.Generator, *, people: Population, orders: Orders, lines: Lines, clock: Clock
) -> EventLines:
    """A look at the first product and the filled cart, minutes before a tracked order."""
    known = orders.time - people.joined[orders.owner] > 0.05  # a guest until then
    inside = (orders.time >= clock.start) & (orders.time < clock.end)
    tracked = (rng.random(len(orders)) < TRACKED_ORDER_SHARE) & known & inside
    ordered_at = clock.seconds(orders.time)
    first_line = np.searchsorted(lines.order, np.arange(len(orders)))
    rank = np.arange(len(lines.order)) - first_line[lines.order]
    carted = np.flatnonzero(tracked[lines.order] & (rank < 2))
    order = lines.order[carted]
    looked = np.flatnonzero(tracked)
    return concatenate(
        [
            event_lines(
                owner=orders.owner[looked],
                second=ordered_at[looked] - rng.integers(600, 900, len(looked)),
                kind=_V,
                product=lines.product[first_line[looked]],
            ),
            event_lines(
                owner=orders.owner[order],
                second=ordered_at[order] - rng.integers(300, 560, len(order)) + 30 * rank[carted],
                kind=_C,
                product=lines.product[carted],
                quantity=lines.quantity[carted],
                unit_price=lines.unit_price[carted],
            ),
        ]
    )
