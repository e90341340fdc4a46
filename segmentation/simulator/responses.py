"""What each customer does in the 30 days after the end, without an offer and with each: chances, and what happens.

The truth beside the shop: none of it is in a file that the product reads. What happens without an offer is what
future.parquet says; an offer adds an order for some of those who would not have bought, and takes away all orders of
the window for some of those who would have. Both follow from one number drawn for each customer, so a customer does
the same under the same offer whoever gives it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from . import baskets, offers
from .baskets import Lines
from .catalogue import Catalogue
from .clock import Clock, Floats
from .offers import OFFERS, WINDOW_DAYS, Pull
from .orders import Orders, mean_dropout_probability
from .population import Bools, Ints, Population

RESPONSE_COLUMNS: dict[str, pl.DataType] = {
    "customer_id": pl.String(),
    "offer": pl.String(),
    "kind": pl.String(),
    "buys_without": pl.Float64(),
    "buys_with": pl.Float64(),
    "spend_without": pl.Float64(),
    "spend_with": pl.Float64(),
    "bought_without": pl.Boolean(),
    "bought_with": pl.Boolean(),
}


@dataclass(frozen=True, eq=False)
class Responses:
    """Of a block's customers (n,) and offers (n, offers). Money in minor units.

    asked: who has ordered before the end; nobody else is in any campaign. Chances and expected spend of the window,
    without an offer and with each; the extra order that an offer may make, and whether it does; whether it spoils.
    """

    asked: Bools
    buys: Floats
    buys_with: Floats
    spend: Floats
    spend_with: Floats
    bought: Bools
    makes: Bools
    spoils: Bools
    extra_time: Floats
    extra: Lines

    @property
    def bought_with(self) -> Bools:
        return np.where(self.bought[:, None], ~self.spoils, self.makes)


def draw(
    rng: np.random.Generator, *, people: Population, orders: Orders, catalogue: Catalogue, clock: Clock
) -> Responses:
    last, stopped = _state(people, orders, clock)
    asked = np.isfinite(last)
    silent = clock.end - np.where(asked, last, clock.end)
    moved = offers.pull(rng, people, silent=silent, stopped=stopped)
    buys, spend = _without(people, asked=asked, stopped=stopped, clock=clock)
    luck = rng.random(len(people))[:, None]
    extra_time = clock.end + rng.uniform(0.2, WINDOW_DAYS, len(people))
    extra = baskets.draw(
        rng, tastes=people.tastes, owner=np.arange(len(people)), time=extra_time, catalogue=catalogue
    )
    inside = (orders.time >= clock.end) & (orders.time < clock.end + WINDOW_DAYS)
    bought = np.bincount(orders.owner[inside], minlength=len(people)) > 0
    return Responses(
        asked=asked,
        buys=buys,
        buys_with=buys[:, None] * (1 - moved.spoiled) + (1 - buys[:, None]) * moved.made,
        spend=spend,
        spend_with=_spend_with(people, buys, spend, moved),
        bought=bought,
        makes=(luck < moved.made) & ~bought[:, None],
        spoils=(luck < moved.spoiled) & bought[:, None],
        extra_time=extra_time,
        extra=extra,
    )


def frame(found: Responses, *, ids: pl.Series, scale: int) -> pl.DataFrame:
    """A row for each customer who has ordered before the end and each offer, by customer; money in major units."""
    rows = np.flatnonzero(found.asked)
    parts = [
        pl.DataFrame(
            {
                "row": rows,
                "customer_id": ids[rows],
                "offer": [name] * len(rows),
                "kind": offers.kinds(found.buys, found.buys_with[:, place])[rows].tolist(),
                "buys_without": found.buys[rows],
                "buys_with": found.buys_with[rows, place],
                "spend_without": found.spend[rows] / scale,
                "spend_with": found.spend_with[rows, place] / scale,
                "bought_without": found.bought[rows],
                "bought_with": found.bought_with[rows, place],
            }
        )
        for place, name in enumerate(OFFERS)
    ]
    return pl.concat(parts).sort("row", maintain_order=True).drop("row").cast(RESPONSE_COLUMNS)  # type: ignore[arg-type]


def _state(people: Population, orders: Orders, clock: Clock) -> tuple[Floats, Bools]:
    """(n,) time of the last order before the end, not a number without one; and who has stopped."""
    past = orders.time < clock.end
    last = np.full(len(people), np.nan)
    last[orders.owner[past]] = orders.time[past]
    stopped = np.zeros(len(people), dtype=bool)
    stopped[orders.owner[orders.last & past]] = True
    return last, stopped


def _without(people: Population, *, asked: Bools, stopped: Bools, clock: Clock) -> tuple[Floats, Floats]:
    """(n,) chance of an order in the window, and expected spend: the state oracle's (truth.py), over the window."""
    a, b = people.season, people.weekend
    begin = clock.operational(np.full(len(people), clock.end), a, b)
    ahead = clock.operational(np.full(len(people), clock.end + WINDOW_DAYS), a, b) - begin
    active = asked & ~stopped
    q = mean_dropout_probability(people.dropout_logit)
    buys: Floats = np.where(active, -np.expm1(-people.rate * ahead), 0.0)
    orders: Floats = np.where(active, -np.expm1(-people.rate * q * ahead) / q, 0.0)
    return buys, orders * people.tastes.mean_spend


def _spend_with(people: Population, buys: Floats, spend: Floats, moved: Pull) -> Floats:
    left = spend[:, None] * (1 - moved.spoiled)
    made = ((1 - buys) * people.tastes.mean_spend)[:, None] * moved.made
    return (left + made) * (1 - np.array([offer.off for offer in OFFERS.values()]))


def extra_orders(found: Responses) -> Ints:
    """(n,) paid for the extra order, before anything is taken off."""
    return np.bincount(found.extra.order, found.extra.paid, len(found.asked)).astype(np.int64)
