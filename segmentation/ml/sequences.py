"""The newest events of each customer as arrays of one length: what networks over events read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# What is known of an event besides its kind and its product categories.
CHANNELS = ("log_gap", "log_age", "season_sine", "season_cosine", "log_amount", "log_quantity", "is_return")
GAP, AGE = CHANNELS.index("log_gap"), CHANNELS.index("log_age")
# Categories of a shop's products are bits of an integer (Product.category_bit), of which 63 can be told apart.
CATEGORY_BITS = 63


@dataclass(frozen=True)
class Sequences:
    """n customers, at most s events each, oldest first, and zeros after the last.

    numeric: (n, s, len(CHANNELS)) float32. kinds: (n, s) int16 EventKind, 0 after the last. categories: (n, s) int64
    bits. lengths: (n,) int16 events that are there.
    """

    numeric: np.ndarray
    kinds: np.ndarray
    categories: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.numeric, self.kinds, self.categories, self.lengths

    def take(self, positions: np.ndarray) -> Sequences:
        return Sequences(*(array[positions] for array in self.arrays))

    def newest(self, count: int) -> Sequences:
        """At most `count` events a customer, the newest; padded where there were fewer places."""
        have = self.kinds.shape[1]
        if have == count:
            return self
        made = Sequences.empty(len(self), count)
        lengths = np.minimum(self.lengths, count)
        rows, places = np.nonzero(np.arange(count) < lengths[:, None])
        old = places + (self.lengths - lengths)[rows]
        for new, array in zip(made.arrays[:3], self.arrays[:3], strict=True):
            new[rows, places] = array[rows, old]
        made.lengths[:] = lengths
        return made

    def without(self, dropped: np.ndarray) -> Sequences:
        """The same customers as if some events had not been: dropped (n, s) True for those; gaps close behind them."""
        there = np.arange(self.kinds.shape[1]) < self.lengths[:, None]
        kept = there & ~dropped
        made = Sequences.empty(len(self), self.kinds.shape[1])
        rows, places = np.nonzero(kept)
        new = (np.cumsum(kept, axis=1) - 1)[rows, places]
        for target, array in zip(made.arrays[:3], self.arrays[:3], strict=True):
            target[rows, new] = array[rows, places]
        made.lengths[:] = kept.sum(axis=1)
        ages = np.expm1(made.numeric[:, :, AGE].astype(np.float64))
        gaps = np.zeros(ages.shape)
        gaps[:, 1:] = np.maximum(ages[:, :-1] - ages[:, 1:], 0.0)
        # The oldest that is left keeps the gap to what came before, which may lie beyond what is held here.
        first = made.numeric[:, 0, GAP].copy()
        left = np.arange(ages.shape[1]) < made.lengths[:, None]
        made.numeric[:, :, GAP] = np.where(left, np.log1p(gaps), 0.0)
        made.numeric[:, 0, GAP] = first
        return made

    def feed(self, digest: Any) -> None:
        """Add everything to a hash of what is learned from."""
        for array in self.arrays:
            digest.update(np.ascontiguousarray(array).tobytes())

    @staticmethod
    def concat(parts: Sequence[Sequences]) -> Sequences | None:
        """All rows of sequences of one length; None of no parts."""
        if not parts:
            return None
        return Sequences(*(np.concatenate(arrays) for arrays in zip(*(p.arrays for p in parts), strict=True)))

    @staticmethod
    def empty(rows: int, newest: int) -> Sequences:
        return Sequences(
            np.zeros((rows, newest, len(CHANNELS)), dtype=np.float32),
            np.zeros((rows, newest), dtype=np.int16),
            np.zeros((rows, newest), dtype=np.int64),
            np.zeros(rows, dtype=np.int16),
        )
