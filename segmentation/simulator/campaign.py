"""A campaign played on the shop: who is held out, what the others are given and with which chance, what they then do.

The log is what a product would keep (no truth in it); the truth is in the responses. `play` draws its own campaign;
`outcomes` follows an assignment made elsewhere, such as the product's own decisions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from segmentation.kinds import EventKind

from . import baskets, catalogue, orders, population, responses
from . import parameters as p
from .baskets import Lines
from .catalogue import Catalogue
from .clock import SECONDS_A_DAY, Clock, Floats
from .config import SimulationConfig
from .lines import EventLines, concatenate, event_lines
from .offers import OFFERS, WINDOW_DAYS
from .orders import Orders
from .population import Bools, Ints, Population
from .responses import Responses
from .streams import BLOCK, Stream, generator

NOTHING: Final = -1
HOLDOUT: Final = 0.2
LEAST_CHANCE: Final = 0.1
# Order numbers of what offers add, out of reach of a customer's own (orders.MOST_ORDERS).
EXTRA_ORDER: Final = 5_000
YEAR: Final = 365.0
KNOWN_COLUMNS: dict[str, pl.DataType] = {
    "customer_id": pl.String(),
    "recency_days": pl.Float64(),
    "orders_365d": pl.Float64(),
    "spend_365d": pl.Float64(),
    "discounted_share": pl.Float64(),
    "newsletter": pl.Float64(),
    "household_size": pl.Float64(),
    "age_band": pl.Float64(),
}
LOG_COLUMNS: dict[str, pl.DataType] = {
    "customer_id": pl.String(),
    "held_out": pl.Boolean(),
    "offer": pl.String(),
    "propensity": pl.Float64(),
    "bought": pl.Boolean(),
    "spend": pl.Float64(),
}


@dataclass(frozen=True, eq=False)
class People:
    """One block without its browsing and texts: all that a campaign needs, the same people as in the files."""

    folk: Population
    bought: Orders
    lines: Lines
    responses: Responses
    ids: pl.Series
    clock: Clock
    scale: int

    def take(self, size: int) -> Ints:
        """Rows of those who have ordered before the end, among the first `size`."""
        return np.flatnonzero(self.responses.asked[:size])


@dataclass(frozen=True, eq=False)
class OfBlock:
    """A campaign in one block: LOG_COLUMNS of who takes part, and what happens in the window as event lines."""

    rows: Ints
    log: pl.DataFrame
    events: EventLines
    chances: Floats


@dataclass(frozen=True, eq=False)
class Played:
    """Frames with a row a customer who has ordered before the end, in the same order; truth has one an offer besides.

    known: what the shop can see. log: what the campaign did and what came of it. truth: responses.RESPONSE_COLUMNS.
    chances: (n, offers) with which the log's policy gives each offer to who is not held out.
    """

    known: pl.DataFrame
    log: pl.DataFrame
    truth: pl.DataFrame
    chances: Floats

    def with_offers(self, column: str) -> Floats:
        """(n, offers) of a column of the truth."""
        return self.truth[column].to_numpy().reshape(-1, len(OFFERS))

    def without(self, column: str) -> Floats:
        """(n,) of a column of the truth that is the same for every offer."""
        return self.with_offers(column)[:, 0]


def play(config: SimulationConfig, *, holdout: float = HOLDOUT, least: float = LEAST_CHANCE) -> Played:
    """Simulate the shop in memory and play one campaign on its last day.

    The campaign's policy looks at what is known and gives each offer with at least the chance `least`.
    """
    clock = Clock.of(config)
    goods = catalogue.build(config, clock)
    parts = []
    for number, size, people in _blocks(config, clock, goods):
        rng = generator(config.seed, Stream.CAMPAIGN, number)
        parts.append(_played(people, play_block(people, size, rng, holdout=holdout, least=least)))
    return Played(
        known=pl.concat([part.known for part in parts]),
        log=pl.concat([part.log for part in parts]),
        truth=pl.concat([part.truth for part in parts]),
        chances=np.concatenate([part.chances for part in parts]),
    )


def people_of(config: SimulationConfig, number: int, *, clock: Clock, goods: Catalogue) -> People:
    """Block `number`, whole."""
    folk = population.draw(generator(config.seed, Stream.PROFILE, number), clock)
    bought = orders.draw(generator(config.seed, Stream.ORDERS, number), folk, clock)
    lines = baskets.draw(
        generator(config.seed, Stream.BASKETS, number),
        tastes=folk.tastes,
        owner=bought.owner,
        time=bought.time,
        catalogue=goods,
    )
    first = number * BLOCK + 1
    return People(
        folk=folk,
        bought=bought,
        lines=lines,
        responses=responses.draw(
            generator(config.seed, Stream.RESPONSES, number),
            people=folk,
            orders=bought,
            catalogue=goods,
            clock=clock,
        ),
        ids=pl.Series([f"C{index:07d}" for index in range(first, first + BLOCK)], dtype=pl.String),
        clock=clock,
        scale=10**config.decimals,
    )


def outcomes(people: People, given: Ints) -> tuple[Bools, Floats]:
    """(n,) whether each customer of the block buys in the window, and what they pay in major units.

    given: (n,) place of the offer each of them has, NOTHING for none.
    """
    found, n = people.responses, len(given)
    has = given != NOTHING
    place = np.where(has, given, 0)
    rows = np.arange(n)
    spoiled = has & found.spoils[rows, place]
    made = has & found.makes[rows, place]
    inside = _inside(people)
    paid = np.bincount(people.lines.order, people.lines.paid, len(people.bought))
    usual = np.bincount(people.bought.owner[inside], paid[inside], n)
    off = np.where(has, np.array([offer.off for offer in OFFERS.values()])[place], 0.0)
    spend = (np.where(spoiled, 0.0, usual) + np.where(made, responses.extra_orders(found), 0.0)) * (1 - off)
    return (found.bought & ~spoiled) | made, spend / people.scale


def event_lines_of(people: People, given: Ints, *, sent: Ints) -> EventLines:
    """What happens in the window under an assignment, as event lines: offers sent (to the rows `sent`), orders."""
    found, n = people.responses, len(given)
    has = given != NOTHING
    place = np.where(has, given, 0)
    rows = np.arange(n)
    spoiled = has & found.spoils[rows, place]
    made = has & found.makes[rows, place]
    off = np.where(has, np.array([offer.off for offer in OFFERS.values()])[place], 0.0)
    clock, bought, lines = people.clock, people.bought, people.lines
    usual = _inside(people) & ~spoiled[bought.owner]
    kept = usual[lines.order]
    extra = made[found.extra.order]
    start = np.full(len(sent), int(clock.end) * SECONDS_A_DAY + 60, dtype=np.int64)
    return concatenate(
        [
            event_lines(owner=sent, second=start, kind=EventKind.OFFER_SENT),
            _ordered(lines, bought.owner, clock.seconds(bought.time), bought.position, kept, off),
            _ordered(found.extra, rows, clock.seconds(found.extra_time), np.full(n, EXTRA_ORDER), extra, off),
        ]
    )


def _ordered(lines: Lines, owner: Ints, second: Ints, number: Ints, kept: Bools, off: Floats) -> EventLines:
    """Lines of the orders; owner, second and number are by order, `off` by owner."""
    order = lines.order[kept]
    price = lines.quantity[kept] * lines.unit_price[kept]
    more = np.round((price - lines.discount[kept]) * off[owner[order]]).astype(np.int64)
    return event_lines(
        owner=owner[order],
        second=second[order],
        kind=EventKind.ORDER_PLACED,
        order=number[order],
        product=lines.product[kept],
        quantity=lines.quantity[kept],
        unit_price=lines.unit_price[kept],
        discount=lines.discount[kept] + more,
    )


def known(people: People) -> pl.DataFrame:
    """What the shop can see of a block's customers at the end; not a number where there is nothing to see."""
    n, clock, bought = len(people.ids), people.clock, people.bought
    seen = (bought.time < clock.end) & (bought.time >= clock.start)
    year = seen & (bought.time >= clock.end - YEAR)
    paid = np.bincount(people.lines.order, people.lines.paid, len(bought))
    off = np.bincount(people.lines.order, people.lines.discount, len(bought)) > 0
    last = np.full(n, clock.start)
    last[bought.owner[seen]] = bought.time[seen]
    count = np.bincount(bought.owner[seen], minlength=n)
    discounted = np.bincount(bought.owner[seen], off[seen], n)
    profile = people.folk.profile
    return pl.DataFrame(
        {
            "customer_id": people.ids,
            "recency_days": clock.end - last,
            "orders_365d": np.bincount(bought.owner[year], minlength=n),
            "spend_365d": np.bincount(bought.owner[year], paid[year], n) / people.scale,
            # Drawn towards the usual share where there are few orders.
            "discounted_share": (discounted + 0.5) / (count + 2),
            "newsletter": profile.newsletter,
            "household_size": profile.household + 1,
            "age_band": profile.age_band,
        }
    ).cast(KNOWN_COLUMNS)  # type: ignore[arg-type]


def chances_of(seen: pl.DataFrame, *, least: float = LEAST_CHANCE) -> Floats:
    """(n, offers) of the campaign's policy: what a manager would guess from what is known, softened."""
    weekly = seen["newsletter"].to_numpy() == list(p.NEWSLETTERS).index("weekly")
    old = seen["age_band"].to_numpy() >= list(p.AGE_BANDS).index("50-64")
    guess = np.column_stack(
        [
            2.0 * seen["discounted_share"].to_numpy(),
            0.8 * old + 0.2 * seen["household_size"].to_numpy(),
            0.9 * weekly + 0.2 * np.log1p(seen["orders_365d"].to_numpy()),
        ]
    )
    soft = np.exp(guess - guess.max(axis=1, keepdims=True))
    return least + (1 - least * len(OFFERS)) * soft / soft.sum(axis=1, keepdims=True)


def _blocks(config: SimulationConfig, clock: Clock, goods: Catalogue) -> Iterator[tuple[int, int, People]]:
    for number in range(-(-config.customers // BLOCK)):
        size = min(BLOCK, config.customers - number * BLOCK)
        yield number, size, people_of(config, number, clock=clock, goods=goods)


def play_block(
    people: People,
    size: int,
    rng: np.random.Generator,
    *,
    holdout: float = HOLDOUT,
    least: float = LEAST_CHANCE,
) -> OfBlock:
    """The campaign among the first `size` customers of a block; draws the same for each of them whatever the size."""
    chances = chances_of(known(people), least=least)
    held, point = rng.random(BLOCK) < holdout, rng.random(BLOCK)
    drawn = (point[:, None] > np.cumsum(chances, axis=1)[:, :-1]).sum(axis=1)
    given = np.where(held, NOTHING, drawn)
    rows = people.take(size)
    sent = rows[given[rows] != NOTHING]
    asked = np.zeros(BLOCK, dtype=bool)
    asked[rows] = True
    events = event_lines_of(people, np.where(people.responses.asked, given, NOTHING), sent=sent)
    return OfBlock(
        rows=rows,
        log=log_of(people, given, np.take_along_axis(chances, drawn[:, None], axis=1)[:, 0])[rows],
        events=events.take(asked[events.owner]),
        chances=chances[rows],
    )


def event_ids() -> pl.Expr:
    """Numbers of their own for the events of a campaign's window."""
    return pl.col("event_id").str.replace("-E", "-W", literal=True)


def _played(people: People, found: OfBlock) -> Played:
    truth = responses.frame(people.responses, ids=people.ids, scale=people.scale)
    return Played(
        known=known(people)[found.rows],
        log=found.log,
        truth=truth.filter(pl.col("customer_id").is_in(people.ids[found.rows].implode())),
        chances=found.chances,
    )


def log_of(people: People, given: Ints, propensity: Floats) -> pl.DataFrame:
    """LOG_COLUMNS of a whole block under an assignment."""
    bought, spend = outcomes(people, given)
    names = [*OFFERS, None]
    held = given == NOTHING
    return pl.DataFrame(
        {
            "customer_id": people.ids,
            "held_out": held,
            "offer": pl.Series([names[place] for place in given.tolist()], dtype=pl.String),
            "propensity": pl.Series(np.where(held, np.nan, propensity)).fill_nan(None),
            "bought": bought,
            "spend": spend,
        }
    ).cast(LOG_COLUMNS)  # type: ignore[arg-type]


def _inside(people: People) -> Bools:
    """(orders,) those of the window."""
    clock = people.clock
    return (people.bought.time >= clock.end) & (people.bought.time < clock.end + WINDOW_DAYS)
