"""Sums over any window of days from running totals of integers: exact, whatever the rows around them.

A stream holds one kind of fact for a set of customers. The sum of a window is the difference of two entries
of the running total, so a window costs two look-ups a customer and a customer's result never depends on
the chunk it is computed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

DAY_BITS = 20  # 2**20 days is 2,800 years


@dataclass(frozen=True)
class Stream:
    """n facts of m customers, sorted by customer and time.

    position: (n,) row of the customer among the m. day: (n,) day number. columns: name -> (n,) int64.
    """

    customers: int
    as_of_day: int
    position: np.ndarray
    day: np.ndarray
    columns: Mapping[str, np.ndarray]
    _edges: dict[int | None, np.ndarray] = field(default_factory=dict, repr=False)
    _running: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    _keys: list[np.ndarray] = field(default_factory=list, repr=False)

    def edge(self, days_ago: int | None) -> np.ndarray:
        """(m,) index of a customer's first fact at most `days_ago` days old; None: the first of all."""
        if days_ago not in self._edges:
            day = 0 if days_ago is None else max(self.as_of_day - days_ago, 0)
            wanted = (np.arange(self.customers, dtype=np.int64) << DAY_BITS) + day
            self._edges[days_ago] = np.searchsorted(self._key(), wanted)
        return self._edges[days_ago]

    def total(self, column: str, *, oldest: int | None = None, newest: int = 0) -> np.ndarray:
        """(m,) sum over the facts more than `newest` and at most `oldest` days old."""
        running = self._running_total(column)
        return running[self.edge(newest)] - running[self.edge(oldest)]

    def union(self, column: str, *, oldest: int | None = None, newest: int = 0) -> np.ndarray:
        """(m,) bits set in any fact of the window."""
        return self._reduce(np.bitwise_or, column, oldest, newest)

    def largest(self, column: str, *, oldest: int | None = None) -> np.ndarray:
        """(m,) largest value of the window; 0 without facts."""
        return self._reduce(np.maximum, column, oldest, 0)

    def first(self, values: np.ndarray) -> np.ndarray:
        """(m,) value of each customer's first fact; 0 without facts."""
        return self._pick(values, self.edge(None))

    def last(self, values: np.ndarray, *, back: int = 0) -> np.ndarray:
        """(m,) value of each customer's last fact, or of the one `back` before it; 0 without."""
        return self._pick(values, self.edge(0) - 1 - back)

    def _key(self) -> np.ndarray:
        if not self._keys:
            self._keys.append((self.position << DAY_BITS) + self.day)
        return self._keys[0]

    def _running_total(self, column: str) -> np.ndarray:
        if column not in self._running:
            total = np.zeros(len(self.day) + 1, dtype=np.int64)
            np.cumsum(self.columns[column], out=total[1:])
            self._running[column] = total
        return self._running[column]

    def _reduce(self, function: np.ufunc, column: str, oldest: int | None, newest: int) -> np.ndarray:
        low, high = self.edge(oldest), self.edge(newest)
        result = np.zeros(self.customers, dtype=np.int64)
        filled = low < high
        if filled.any():
            # A trailing zero lets the last window end at the last fact.
            values = np.append(self.columns[column], 0)
            borders = np.column_stack([low[filled], high[filled]]).ravel()
            result[filled] = function.reduceat(values, borders)[::2]
        return result

    def _pick(self, values: np.ndarray, index: np.ndarray) -> np.ndarray:
        result = np.zeros(self.customers, dtype=np.int64)
        inside = (index >= self.edge(None)) & (index < self.edge(0))
        result[inside] = values[index[inside]]
        return result
