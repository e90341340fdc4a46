"""How a set of ids is best asked for: one by one, or as the stretch they lie in without the few that are not wanted.

Thousands of ids take longer to send and to compare than the rows behind them take to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

# From so many ids on the way of asking matters.
MANY: Final = 1000
# Ids count as neighbours when at least one in so many of their range is asked for, and as dense when nearly all are.
NEIGHBOURS: Final = 4
DENSE: Final = 1.25

Keys = Sequence[int] | Sequence[str]


class Density(IntEnum):
    """NEAR: the ids lie in one stretch of an index. DENSE: the ids of that stretch that nobody asks for are few."""

    FAR = 0
    NEAR = 1
    DENSE = 2


def density(keys: Keys) -> Density:
    """`keys` has at least one."""
    first, last = min(keys), max(keys)
    if not (isinstance(first, int) and isinstance(last, int)):
        return Density.FAR
    span = last - first + 1
    if len(keys) >= MANY and span <= DENSE * len(keys):
        return Density.DENSE
    return Density.NEAR if span <= NEIGHBOURS * len(keys) else Density.FAR


def holes(keys: Keys) -> list[int]:
    """The ids between the first and the last that are not among `keys`, which are numbers."""
    first, last = min(keys), max(keys)
    assert isinstance(first, int)
    assert isinstance(last, int)
    return sorted(set(range(first, last + 1)).difference(keys))
