"""One block of customers, from their profiles to the four frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from segmentation.kinds import EventKind

from . import aftermath, baskets, browsing, campaign, guests, people, responses, truth
from . import parameters as p
from .catalogue import Catalogue
from .clock import SECONDS_A_DAY, Clock
from .config import SimulationConfig
from .lines import EventLines, Labels, concatenate, event_lines, to_frame
from .orders import Orders
from .population import Population
from .streams import BLOCK, Stream, generator


@dataclass(frozen=True)
class Block:
    events: pl.DataFrame
    customers: pl.DataFrame
    truth: pl.DataFrame
    future: pl.DataFrame
    responses: pl.DataFrame
    campaign: pl.DataFrame | None
    campaign_events: pl.DataFrame | None


@dataclass(frozen=True, eq=False)
class _Shop:
    config: SimulationConfig
    clock: Clock
    catalogue: Catalogue
    number: int

    def stream(self, stream: Stream) -> np.random.Generator:
        return generator(self.config.seed, stream, self.number)


def simulate_block(config: SimulationConfig, number: int, *, clock: Clock, catalogue: Catalogue) -> Block:
    """Block `number`, cut to the customers that `config` asks for.

    A block is always simulated whole and then cut, so that a customer does not depend on how many others
    were asked for.
    """
    shop = _Shop(config, clock, catalogue, number)
    size = min(BLOCK, config.customers - number * BLOCK)
    crowd = campaign.people_of(config, number, clock=clock, goods=catalogue)
    folk, bought, lines = crowd.folk, crowd.bought, crowd.lines
    labels = _labels(shop)
    scale = 10**config.decimals
    contacts = people.customers_frame(
        shop.stream(Stream.PEOPLE),
        people=folk,
        ids=labels.customer[:BLOCK],
        first_number=_first(shop),
        clock=clock,
    )
    facts = truth.truth_frame(
        people=folk, ids=labels.customer[:BLOCK], orders=bought, lines=lines, clock=clock, scale=scale
    )
    future = truth.future_frame(
        ids=labels.customer, orders=bought, lines=lines, clock=clock, currency=config.currency, scale=scale
    )
    played, happened = _campaign(shop, crowd, labels, size) if config.campaign else (None, None)
    return Block(
        events=_events(shop, folk, bought, lines, labels=labels, size=size),
        customers=contacts.head(size),
        truth=facts.head(size),
        future=_of(future, labels, size),
        responses=_of(responses.frame(crowd.responses, ids=crowd.ids, scale=scale), labels, size),
        campaign=played,
        campaign_events=happened,
    )


def _campaign(
    shop: _Shop, crowd: campaign.People, labels: Labels, size: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Its log, and the events of its window."""
    played = campaign.play_block(crowd, size, shop.stream(Stream.CAMPAIGN))
    events = to_frame(
        played.events,
        labels=labels,
        catalogue=shop.catalogue,
        clock=shop.clock,
        currency=shop.config.currency,
        decimals=shop.config.decimals,
    )
    return played.log, events.with_columns(campaign.event_ids())


def _of(frame: pl.DataFrame, labels: Labels, size: int) -> pl.DataFrame:
    return frame.filter(pl.col("customer_id").is_in(labels.customer[:size].implode()))


def _events(
    shop: _Shop, folk: Population, bought: Orders, lines: baskets.Lines, *, labels: Labels, size: int
) -> pl.DataFrame:
    clock, catalogue, config = shop.clock, shop.catalogue, shop.config
    visits = browsing.draw(
        shop.stream(Stream.BROWSING),
        people=folk,
        orders=bought,
        lines=lines,
        catalogue=catalogue,
        clock=clock,
        signal=config.sequence_signal,
    )
    later = aftermath.draw(
        shop.stream(Stream.AFTERMATH),
        shop.stream(Stream.TEXTS),
        people=folk,
        orders=bought,
        lines=lines,
        catalogue=catalogue,
        clock=clock,
    )
    visitors = guests.draw(shop.stream(Stream.GUESTS), catalogue=catalogue, clock=clock)
    everything = concatenate(
        [_sign_ups(folk, clock), _order_lines(bought, lines, clock), visits, later, visitors]
    )
    return to_frame(
        everything.take(_reported(everything, clock, size)),
        labels=labels,
        catalogue=catalogue,
        clock=clock,
        currency=config.currency,
        decimals=config.decimals,
    )


def _reported(events: EventLines, clock: Clock, size: int) -> np.ndarray:
    """Events inside the window, of the customers asked for and as many guests as go with them."""
    inside = (events.second >= int(clock.start) * SECONDS_A_DAY) & (
        events.second < int(clock.end) * SECONDS_A_DAY
    )
    guest_limit = BLOCK + int(size * p.GUEST_SHARE)
    mine = (events.owner < size) | ((events.owner >= BLOCK) & (events.owner < guest_limit))
    return inside & mine


def _sign_ups(folk: Population, clock: Clock) -> EventLines:
    """A minute before the first order of those who sign up at the checkout."""
    return event_lines(
        owner=np.arange(len(folk)), second=clock.seconds(folk.joined) - 60, kind=EventKind.SIGNED_UP
    )


def _order_lines(bought: Orders, lines: baskets.Lines, clock: Clock) -> EventLines:
    return event_lines(
        owner=bought.owner[lines.order],
        second=clock.seconds(bought.time)[lines.order],
        kind=EventKind.ORDER_PLACED,
        order=bought.position[lines.order],
        product=lines.product,
        quantity=lines.quantity,
        unit_price=lines.unit_price,
        discount=lines.discount,
    )


def _first(shop: _Shop) -> int:
    return shop.number * BLOCK + 1


def _labels(shop: _Shop) -> Labels:
    first_guest = shop.number * guests.GUESTS + 1
    customers = [f"C{index:07d}" for index in range(_first(shop), _first(shop) + BLOCK)]
    visitors = [f"G{index:07d}" for index in range(first_guest, first_guest + guests.GUESTS)]
    return Labels(
        owner=pl.Series(customers + visitors, dtype=pl.String),
        customer=pl.Series(customers + [None] * len(visitors), dtype=pl.String),
        app_share=shop.stream(Stream.DEVICES).beta(1.2, 2.0, BLOCK + guests.GUESTS),
    )
