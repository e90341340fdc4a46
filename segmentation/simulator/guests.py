"""Orders without an account: one order each, no customer id."""

from __future__ import annotations

import numpy as np

from segmentation.kinds import EventKind

from . import baskets, population
from . import parameters as p
from .catalogue import Catalogue
from .clock import Clock
from .lines import EventLines, event_lines
from .streams import BLOCK

GUESTS = int(BLOCK * p.GUEST_SHARE)


def draw(rng: np.random.Generator, *, catalogue: Catalogue, clock: Clock) -> EventLines:
    """The guest orders of a block; their owners are numbered after the block's customers."""
    profile = population.draw_profile(rng, GUESTS)
    tastes = population.draw_tastes(rng, profile, population.effects_of(profile))
    guest = np.arange(GUESTS)
    time = rng.uniform(clock.start, clock.end, GUESTS)
    lines = baskets.draw(rng, tastes=tastes, owner=guest, time=time, catalogue=catalogue)
    return event_lines(
        owner=BLOCK + lines.order,
        second=clock.seconds(time)[lines.order],
        kind=EventKind.ORDER_PLACED,
        order=np.zeros(len(lines.order), dtype=np.int64),
        product=lines.product,
        quantity=lines.quantity,
        unit_price=lines.unit_price,
        discount=lines.discount,
    )
