"""What follows an order: returns, reviews, tickets and complaints, all driven by how it pleased."""

from __future__ import annotations

import numpy as np

from ..kinds import EventKind
from . import texts
from .baskets import Lines
from .catalogue import Catalogue
from .clock import SECONDS_A_DAY, Clock, Floats
from .lines import EventLines, concatenate, event_lines
from .orders import Orders
from .population import Bools, Ints, Population

RETURNS_PER_PLEASURE = -0.8
PART_RETURN_SHARE = 0.4
TICKET_LOGIT = -2.9
CHARGEBACK_SHARE = 0.5
MALICIOUS_REVIEWS = (3, 4.0)  # at least, and the Poisson mean on top


def draw(
    rng: np.random.Generator,
    words: np.random.Generator,
    *,
    people: Population,
    orders: Orders,
    lines: Lines,
    catalogue: Catalogue,
    clock: Clock,
) -> EventLines:
    """All that follows the orders, whenever it happens; `words` draws the sentences."""
    pleasure = people.satisfaction[orders.owner] + orders.experience
    first_product = lines.product[np.searchsorted(lines.order, np.arange(len(orders)))]
    items = np.array(texts.item_names(catalogue.names), dtype=object)
    returned = _returned(rng, people, orders, lines, pleasure)
    has_return = np.bincount(lines.order[returned], minlength=len(orders)) > 0
    shared = (orders, first_product, items, clock)
    parts = [
        _refunds(rng, orders, lines, returned, clock),
        _reviews(rng, words, *shared, pleasure=pleasure, people=people),
        _tickets(rng, words, *shared, pleasure=pleasure, has_return=has_return),
        _chargebacks(rng, words, *shared, people=people),
        _malicious_reviews(rng, words, orders, items, clock, people=people, catalogue=catalogue),
    ]
    return concatenate(parts)


def _later(clock: Clock, time: Floats, days: Floats) -> Ints:
    return clock.seconds(time) + (days * SECONDS_A_DAY).astype(np.int64)


def _happens(rng: np.random.Generator, logit: Floats) -> Bools:
    return rng.random(len(logit)) < 1 / (1 + np.exp(-logit))


def _returned(
    rng: np.random.Generator, people: Population, orders: Orders, lines: Lines, pleasure: Floats
) -> Bools:
    logit = people.return_logit[orders.owner] + RETURNS_PER_PLEASURE * pleasure
    return _happens(rng, logit[lines.order])


def _refunds(
    rng: np.random.Generator, orders: Orders, lines: Lines, returned: Bools, clock: Clock
) -> EventLines:
    """One refund an order, 3 to about 30 days later, at the price paid; sometimes not every piece."""
    delay = 3 + rng.gamma(2.0, 5.0, len(orders))
    row = np.flatnonzero(returned)
    order = lines.order[row]
    whole = lines.quantity[row]
    partly = (rng.random(len(row)) < PART_RETURN_SHARE) & (whole > 1)
    quantity = np.where(partly, 1 + (rng.random(len(row)) * (whole - 1)).astype(np.int64), whole)
    return event_lines(
        owner=orders.owner[order],
        second=_later(clock, orders.time[order], delay[order]),
        kind=EventKind.REFUNDED,
        order=orders.position[order],
        product=lines.product[row],
        quantity=quantity,
        unit_price=lines.unit_price[row],
        discount=lines.discount[row] * quantity // whole,
    )


def _reviews(
    rng: np.random.Generator,
    words: np.random.Generator,
    orders: Orders,
    product: Ints,
    items: np.ndarray,
    clock: Clock,
    *,
    pleasure: Floats,
    people: Population,
) -> EventLines:
    """People with strong feelings review more; stars follow the feeling with some noise."""
    written = np.flatnonzero(_happens(rng, people.review_logit[orders.owner] + 0.5 * np.abs(pleasure)))
    feeling = 3.7 + 0.95 * pleasure[written] + rng.normal(0, 0.45, len(written))
    rating = np.clip(np.round(feeling), 1, 5).astype(np.int64)
    return event_lines(
        owner=orders.owner[written],
        second=_later(clock, orders.time[written], 2 + rng.exponential(6.0, len(written))),
        kind=EventKind.REVIEWED,
        order=orders.position[written],
        product=product[written],
        rating=rating,
        text=texts.reviews(words, rating, items[product[written]]),
    )


def _tickets(
    rng: np.random.Generator,
    words: np.random.Generator,
    orders: Orders,
    product: Ints,
    items: np.ndarray,
    clock: Clock,
    *,
    pleasure: Floats,
    has_return: Bools,
) -> EventLines:
    logit = TICKET_LOGIT - 0.8 * pleasure + 0.6 * has_return + 0.8 * orders.problem
    asked = np.flatnonzero(_happens(rng, logit))
    opened = _later(clock, orders.time[asked], 0.5 + rng.exponential(3.0, len(asked)))
    angry = pleasure[asked] < -1.0
    closed = opened + (SECONDS_A_DAY * rng.exponential(np.where(angry, 5.0, 1.5)) + 1_800).astype(np.int64)
    complained = np.flatnonzero(angry & (rng.random(len(asked)) < 0.45))
    topics = _topics(rng, orders.problem[asked], has_return[asked], pleasure[asked])
    about = items[product[asked]]
    common = {"owner": orders.owner[asked], "order": orders.position[asked]}
    return concatenate(
        [
            event_lines(
                **common,
                second=opened,
                kind=EventKind.TICKET_OPENED,
                text=texts.ticket_subjects(words, topics, about),
            ),
            event_lines(**common, second=closed, kind=EventKind.TICKET_CLOSED),
            event_lines(
                owner=orders.owner[asked[complained]],
                order=orders.position[asked[complained]],
                second=opened[complained] + rng.integers(SECONDS_A_DAY, 6 * SECONDS_A_DAY, len(complained)),
                kind=EventKind.COMPLAINED,
                text=texts.complaints(words, about[complained]),
            ),
        ]
    )


def _topics(rng: np.random.Generator, problem: Bools, has_return: Bools, pleasure: Floats) -> list[str]:
    u = rng.random(len(problem))
    topic = np.where(pleasure < -0.3, "defect", "question")
    topic = np.where(has_return & (u < 0.6), "refund", topic)
    return np.where(problem & (u < 0.8), "delivery", topic).tolist()


def _chargebacks(
    rng: np.random.Generator,
    words: np.random.Generator,
    orders: Orders,
    product: Ints,
    items: np.ndarray,
    clock: Clock,
    *,
    people: Population,
) -> EventLines:
    u = rng.random(len(orders))
    row = np.flatnonzero(people.fraud[orders.owner] & (u < CHARGEBACK_SHARE))
    return event_lines(
        owner=orders.owner[row],
        second=_later(clock, orders.time[row], rng.uniform(8, 30, len(row))),
        kind=EventKind.COMPLAINED,
        order=orders.position[row],
        product=product[row],
        text=texts.chargebacks(words, items[product[row]]),
    )


def _malicious_reviews(
    rng: np.random.Generator,
    words: np.random.Generator,
    orders: Orders,
    items: np.ndarray,
    clock: Clock,
    *,
    people: Population,
    catalogue: Catalogue,
) -> EventLines:
    """A burst of one-star reviews of any product, in the week after a fraudster's first order."""
    least, more = MALICIOUS_REVIEWS
    start = np.flatnonzero(people.fraud[orders.owner] & (orders.position == 0))
    row = np.repeat(start, least + rng.poisson(more, len(start)))
    product = rng.integers(0, len(catalogue.ids), len(row))
    return event_lines(
        owner=orders.owner[row],
        second=_later(clock, orders.time[row], rng.uniform(0.5, 7, len(row))),
        kind=EventKind.REVIEWED,
        product=product,
        rating=np.ones(len(row), dtype=np.int64),
        text=texts.malicious_reviews(words, items[product]),
    )
