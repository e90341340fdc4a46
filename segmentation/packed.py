"""Rows of one width as a column of bytes, and a column of bytes or texts as one buffer, without a Python object a row."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

# The length of a value that is null.
MISSING: Final = -1


def pack(matrix: np.ndarray, known: np.ndarray | None = None) -> pl.Series:
    """(n, k) numbers as a Binary column, each row the bytes of its k numbers. known: (n,) False where it is null."""
    import pyarrow as pa

    rows = np.ascontiguousarray(matrix)
    width = rows.shape[1] * rows.itemsize
    starts = np.arange(len(rows) + 1, dtype=np.int64) * width
    there = None if known is None else pa.py_buffer(np.packbits(known, bitorder="little"))
    buffers = [there, pa.py_buffer(starts), pa.py_buffer(rows)]
    column = pa.Array.from_buffers(pa.large_binary(), len(rows), buffers)
    return pl.Series(column, dtype=pl.Binary)


def joined(column: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """All bytes of a Binary column one behind the other, and (n + 1,) where each value begins; a null has none."""
    plain = column.fill_null(b"") if column.null_count() else column
    array = plain.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _there, starts, content = array.buffers()
    at = np.frombuffer(starts, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    whole = np.frombuffer(content, dtype=np.uint8) if content is not None else np.zeros(0, dtype=np.uint8)
    return whole[at[0] : at[-1]], at - at[0]


def split(content: bytes, lengths: np.ndarray) -> pl.Series:
    """A Binary column of (n,) values that lie one behind the other; MISSING for a null, which has no bytes."""
    import pyarrow as pa

    starts = np.concatenate([[0], np.cumsum(np.maximum(lengths, 0))]).astype(np.int64)
    there = pa.py_buffer(np.packbits(lengths != MISSING, bitorder="little"))
    buffers = [there, pa.py_buffer(starts), pa.py_buffer(content)]
    return pl.Series(pa.Array.from_buffers(pa.large_binary(), len(lengths), buffers), dtype=pl.Binary)


def matrix(column: pl.Series, width: int) -> np.ndarray:
    """(n, width) little-endian float64, NaN where the value is null or holds another number of them."""
    content, starts = joined(column)
    fits = np.diff(starts) == 8 * width
    if not fits.all():
        content, _starts = joined(column.filter(pl.Series(fits)))
    out = np.full((len(column), width), np.nan)
    out[fits] = content.view("<f8").reshape(-1, width)
    return out
