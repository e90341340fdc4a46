"""What follows an order: returns, reviews, tickets and complaints, all driven by how it pleased."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation.kinds import EventKind

from . import texts
from .baskets import Lines
from .catalogue import Catalogue
from .clock import SECONDS_A_DAY, Clock, Floats
from .lines import EventLines, concatenate, event_lines
from .orders import Orders
from .population import Bools, Ints, Population

RETURNS_PER_PLEASURE = -0.8
PART_RETURN_SHARE = 0.4
REVIEW_PER_FEELING = 0.5
STARS_FOR_NO_FEELING = 3.7
STARS_PER_PLEASURE = 0.95
STARS_SD = 0.45
TICKET_LOGIT = -2.9
TICKETS_PER_PLEASURE = -0.8
COMPLAINT_SHARE = 0.45  # of the tickets of angry customers
ANGRY_BELOW = -1.0
CHARGEBACK_SHARE = 0.5
MALICIOUS_REVIEWS = (3, 4.0)  # at least, and the Poisson mean on top


@dataclass(frozen=True, eq=False)
class _Sold:
    """The orders and how each of them pleased; arrays (orders,), but `items` (products,)."""

    people: Population
    orders: Orders
    lines: Lines
    clock: Clock
    pleasure: Floats
    first_product: Ints
    items: NDArray[np.object_]  # what people call each product

    def later(self, rows: Ints, days: Floats) -> Ints:
        """The second that lies `days` after each of the orders `rows`."""
        return self.clock.seconds(self.orders.time[rows]) + (days * SECONDS_A_DAY).astype(np.int64)

    def about(self, rows: Ints) -> list[str]:
        return self.items[self.first_product[rows]].tolist()


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
    sold = _Sold(
        people=people,
        orders=orders,
        lines=lines,
        clock=clock,
        pleasure=people.satisfaction[orders.owner] + orders.experience,
        first_product=lines.product[np.searchsorted(lines.order, np.arange(len(orders)))],
        items=np.array(texts.item_names(catalogue.names), dtype=object),
    )
    returned = _returned(rng, sold)
    has_return = np.bincount(lines.order[returned], minlength=len(orders)) > 0
    return concatenate(
        [
            _refunds(rng, sold, returned),
            _reviews(rng, words, sold),
            *_tickets(rng, words, sold, has_return),
            _chargebacks(rng, words, sold),
            _malicious_reviews(rng, words, sold),
        ]
    )


def _happens(rng: np.random.Generator, logit: Floats) -> Bools:
    return rng.random(len(logit)) < 1 / (1 + np.exp(-logit))


def _returned(rng: np.random.Generator, sold: _Sold) -> Bools:
    logit = sold.people.return_logit[sold.orders.owner] + RETURNS_PER_PLEASURE * sold.pleasure
    return _happens(rng, logit[sold.lines.order])


def _refunds(rng: np.random.Generator, sold: _Sold, returned: Bools) -> EventLines:
    """One refund an order, 3 to about 30 days later, at the price paid; sometimes not every piece."""
    orders, lines = sold.orders, sold.lines
    delay = 3 + rng.gamma(2.0, 5.0, len(orders))
    row = np.flatnonzero(returned)
    order = lines.order[row]
    whole = lines.quantity[row]
    partly = (rng.random(len(row)) < PART_RETURN_SHARE) & (whole > 1)
    quantity = np.where(partly, 1 + (rng.random(len(row)) * (whole - 1)).astype(np.int64), whole)
    return event_lines(
        owner=orders.owner[order],
        second=sold.later(order, delay[order]),
        kind=EventKind.REFUNDED,
        order=orders.position[order],
        product=lines.product[row],
        quantity=quantity,
        unit_price=lines.unit_price[row],
        discount=lines.discount[row] * quantity // whole,
    )


def _reviews(rng: np.random.Generator, words: np.random.Generator, sold: _Sold) -> EventLines:
    """People with strong feelings review more; stars follow the feeling with some noise."""
    orders = sold.orders
    logit = sold.people.review_logit[orders.owner] + REVIEW_PER_FEELING * np.abs(sold.pleasure)
    written = np.flatnonzero(_happens(rng, logit))
    feeling = STARS_FOR_NO_FEELING + STARS_PER_PLEASURE * sold.pleasure[written]
    rating = np.clip(np.round(feeling + rng.normal(0, STARS_SD, len(written))), 1, 5).astype(np.int64)
    return event_lines(
        owner=orders.owner[written],
        second=sold.later(written, 2 + rng.exponential(6.0, len(written))),
        kind=EventKind.REVIEWED,
        order=orders.position[written],
        product=sold.first_product[written],
        rating=rating,
        text=texts.reviews(words, rating, sold.about(written)),
    )


def _tickets(
    rng: np.random.Generator, words: np.random.Generator, sold: _Sold, has_return: Bools
) -> tuple[EventLines, EventLines, EventLines]:
    """Tickets opened, tickets closed, and what became a complaint."""
    orders = sold.orders
    logit = TICKET_LOGIT + TICKETS_PER_PLEASURE * sold.pleasure + 0.6 * has_return + 0.8 * orders.problem
    asked = np.flatnonzero(_happens(rng, logit))
    opened = sold.later(asked, 0.5 + rng.exponential(3.0, len(asked)))
    angry = sold.pleasure[asked] < ANGRY_BELOW
    open_for = SECONDS_A_DAY * rng.exponential(np.where(angry, 5.0, 1.5)) + 1_800
    complained = angry & (rng.random(len(asked)) < COMPLAINT_SHARE)
    waited = rng.integers(SECONDS_A_DAY, 6 * SECONDS_A_DAY, len(asked))
    topics = _topics(rng, orders.problem[asked], has_return[asked], sold.pleasure[asked])
    owner, order = orders.owner[asked], orders.position[asked]
    return (
        event_lines(
            owner=owner,
            second=opened,
            kind=EventKind.TICKET_OPENED,
            order=order,
            text=texts.ticket_subjects(words, topics, sold.about(asked)),
        ),
        event_lines(
            owner=owner, second=opened + open_for.astype(np.int64), kind=EventKind.TICKET_CLOSED, order=order
        ),
        event_lines(
            owner=owner[complained],
            second=(opened + waited)[complained],
            kind=EventKind.COMPLAINED,
            order=order[complained],
            text=texts.complaints(words, sold.about(asked[complained])),
        ),
    )


def _topics(rng: np.random.Generator, problem: Bools, has_return: Bools, pleasure: Floats) -> list[str]:
    u = rng.random(len(problem))
    topic = np.where(pleasure < -0.3, "defect", "question")
    topic = np.where(has_return & (u < 0.6), "refund", topic)
    return np.where(problem & (u < 0.8), "delivery", topic).tolist()


def _chargebacks(rng: np.random.Generator, words: np.random.Generator, sold: _Sold) -> EventLines:
    orders = sold.orders
    disputed = rng.random(len(orders)) < CHARGEBACK_SHARE
    row = np.flatnonzero(sold.people.fraud[orders.owner] & disputed)
    return event_lines(
        owner=orders.owner[row],
        second=sold.later(row, rng.uniform(8, 30, len(row))),
        kind=EventKind.COMPLAINED,
        order=orders.position[row],
        product=sold.first_product[row],
        text=texts.chargebacks(words, sold.about(row)),
    )


def _malicious_reviews(rng: np.random.Generator, words: np.random.Generator, sold: _Sold) -> EventLines:
    """A burst of one-star reviews of any product, in the week after a fraudster's first order."""
    least, more = MALICIOUS_REVIEWS
    start = np.flatnonzero(sold.people.fraud[sold.orders.owner] & (sold.orders.position == 0))
    row = np.repeat(start, least + rng.poisson(more, len(start)))
    product = rng.integers(0, len(sold.items), len(row))
    return event_lines(
        owner=sold.orders.owner[row],
        second=sold.later(row, rng.uniform(0.5, 7, len(row))),
        kind=EventKind.REVIEWED,
        product=product,
        rating=np.ones(len(row), dtype=np.int64),
        text=texts.malicious_reviews(words, sold.items[product].tolist()),
    )
