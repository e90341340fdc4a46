"""Work in batches of one fixed size, so that a row's answer does not depend on who is scored beside it.

Matrix kernels pick another order of summation for another shape; with one shape a customer scored alone and
in a batch of a million get the same bits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# One customer pays for a whole batch, and a larger one is hardly quicker a row.
BATCH = 64


def in_fixed_batches(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """`function` over slices of exactly BATCH rows of every array, zero rows filling the last one."""
    rows = len(arrays[0])
    parts = []
    for start in range(0, max(rows, 1), BATCH):
        pieces = [array[start : start + BATCH] for array in arrays]
        lacking = BATCH - len(pieces[0])
        if lacking:
            pieces = [np.concatenate([p, np.zeros((lacking, *p.shape[1:]), dtype=p.dtype)]) for p in pieces]
        parts.append(function(*pieces))
    return np.concatenate(parts)[:rows]
