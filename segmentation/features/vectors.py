"""Numeric features as packed little-endian float64 in catalogue order; null is NaN."""

from __future__ import annotations

import numpy as np
import polars as pl

from segmentation import packed
from segmentation.features.catalogue import NUMERIC


def pack(frame: pl.DataFrame) -> pl.Series:
    """One vector a row of a features frame, as a column of bytes."""
    numbers = frame.select(pl.col(NUMERIC).cast(pl.Float64).fill_null(float("nan")))
    return packed.pack(numbers.to_numpy(order="c").astype("<f8", copy=False))


def unpack(vectors: pl.Series) -> list[pl.Series]:
    """The numeric features of stored vectors, a column each."""
    columns = np.ascontiguousarray(packed.matrix(vectors, len(NUMERIC)).T)
    return [pl.Series(name, column, nan_to_null=True) for name, column in zip(NUMERIC, columns, strict=True)]
