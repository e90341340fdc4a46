"""Which features a shop can move, in which direction and how far at once: what “what would change it” may suggest.

A customer's age with the shop, the season or the past cannot be moved; orders, visits, open tickets and reviews can be
won or settled by offers and service. Features move together: an order changes recency, counts and spend at once. So
suggestions are steps (segmentation/steps.py) whose features are computed by the one frame code, and a suggestion that
moves a feature below against its direction or beyond its bound is not made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Influence:
    """most: the largest believable move at once, in the feature's unit; None: whatever the steps make of it."""

    direction: Direction
    most: float | None = None


def _windows(name: str, *windows: str, most: float | None = None) -> dict[str, Influence]:
    return {f"{name}_{window}": Influence("up", most) for window in windows}


INFLUENCE: Final[dict[str, Influence]] = {
    "recency_days": Influence("down"),
    **_windows("orders", "7d", "30d", "90d", "365d", "lifetime", most=3),
    **_windows("spend", "7d", "30d", "90d", "365d", "lifetime"),
    "order_value_last": Influence("up"),
    "order_value_largest": Influence("up"),
    **_windows("views", "7d", "30d", "90d", most=6),
    **_windows("visit_days", "30d", "90d", most=3),
    "visit_recency_days": Influence("down"),
    **_windows("reviews", "365d", "lifetime", most=1),
    "tickets_open": Influence("down"),
}
# Moves that steps may make either way are no one's to promise: the last order may well be smaller than the one before.
EITHER_WAY: Final = frozenset({"order_value_last"})


def is_believable(name: str, before: float | None, after: float | None) -> bool:
    """Whether this move of a feature is one that a shop can hope for."""
    known = INFLUENCE.get(name)
    if known is None or name in EITHER_WAY or before is None or after is None:
        return True
    move = after - before if known.direction == "up" else before - after
    return move >= 0 and (known.most is None or move <= known.most)
