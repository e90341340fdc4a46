"""What there is to tell after a scoring or a segment edit. Who tells whom is the caller's business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class News:
    """A customer with another tier, other segments or a new decision; `decision_id` is None without a new one."""

    customer_id: int
    decision_id: int | None = None


# Called inside the transaction that holds the customers' rows and writes what the news are about.
OnDecided = Callable[[list[News]], object]
