"""Lists in pieces small enough for one SQL statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Element = TypeVar("Element")
SIZE = 500


def batches(elements: Sequence[Element], size: int = SIZE) -> Iterator[Sequence[Element]]:
    for start in range(0, len(elements), size):
        yield elements[start : start + size]
