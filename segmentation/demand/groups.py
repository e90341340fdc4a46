"""Groups of buyers, week by week: who was in which, who moved, and what each group bought.

A customer's group at the start of a week says how long ago the last order was and how many there were in the 52 weeks
before. Two more groups have no heads: NEW, whoever has not ordered yet, and OTHER, whoever is not profiled and therefore
is in no group; what they buy is counted by the week instead of by the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

# Weeks since the last order: up to 4, 13, 26, 52, and longer.
RECENCY: Final = (4, 13, 26, 52)
# Orders in the 52 weeks before: 1, 2 or 3, 4 or more.
OFTEN: Final = (2, 4)
YEAR: Final = 52
LAPSED: Final = len(RECENCY) * (len(OFTEN) + 1)
NEW: Final = LAPSED + 1
OTHER: Final = LAPSED + 2
GROUPS: Final = OTHER + 1


@dataclass(frozen=True)
class Tallies:
    """Sums by week; w = 0 is the oldest week, W the week that begins now.

    sizes: (W + 1, G) heads at the start of a week; 1 for NEW and OTHER. moves: (W, G, G) from the start of a week to the
    start of the next; from NEW it is who came. units: (W, G, P) pieces bought in the week by the group's members.
    """

    sizes: np.ndarray
    moves: np.ndarray
    units: np.ndarray

    @property
    def weeks(self) -> int:
        return len(self.moves)


def groups_by_week(customer: np.ndarray, week: np.ndarray, *, customers: int, weeks: int) -> np.ndarray:
    """(n, W + 1) int8: the group of each customer at the start of each week.

    customer, week: (o,) of each order, customers counted from 0.
    """
    orders = np.zeros((customers, weeks), dtype=np.int32)
    np.add.at(orders, (customer, week), 1)
    found = np.full((customers, weeks + 1), NEW, dtype=np.int8)
    last = np.full(customers, -1, dtype=np.int32)
    in_year = np.zeros(customers, dtype=np.int32)
    for at in range(weeks + 1):
        if at:
            last[orders[:, at - 1] > 0] = at - 1
            in_year += orders[:, at - 1]
        if at > YEAR:
            in_year -= orders[:, at - 1 - YEAR]
        ago = np.searchsorted(RECENCY, at - last, side="left")
        often = np.searchsorted(OFTEN, in_year, side="right")
        group = np.where(ago < len(RECENCY), ago * (len(OFTEN) + 1) + often, LAPSED)
        found[:, at] = np.where(last < 0, NEW, group)
    return found


def tally(
    groups: np.ndarray,
    *,
    customer: np.ndarray,
    week: np.ndarray,
    item: np.ndarray,
    pieces: np.ndarray,
    items: int,
) -> Tallies:
    """groups: (n, W + 1) as above, OTHER throughout for whoever is not profiled; the rest (l,): one line of an order."""
    weeks = groups.shape[1] - 1
    sizes = np.stack([np.bincount(groups[:, at], minlength=GROUPS) for at in range(weeks + 1)]).astype(float)
    moves = np.zeros((weeks, GROUPS, GROUPS))
    for at in range(weeks):
        pairs = groups[:, at].astype(np.int64) * GROUPS + groups[:, at + 1]
        moves[at] = np.bincount(pairs, minlength=GROUPS * GROUPS).reshape(GROUPS, GROUPS)
    for alone in (NEW, OTHER):
        sizes[:, alone] = 1.0
        moves[:, alone, alone] = 1.0
    place = (week * GROUPS + groups[customer, week]) * items + item
    units = np.bincount(place, weights=pieces, minlength=weeks * GROUPS * items)
    return Tallies(sizes, moves, units.reshape(weeks, GROUPS, items))
