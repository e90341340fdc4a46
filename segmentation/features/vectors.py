"""Numeric features as packed little-endian float64 in catalogue order; null is NaN."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from segmentation.features.catalogue import NUMERIC

# customer_id, as_of, input_version, vector, country, channel
StoredRow = tuple[int, date, int, bytes, str, str]


def pack(frame: pl.DataFrame) -> list[bytes]:
    """One vector a row of a features frame."""
    matrix = frame.select(pl.col(NUMERIC).fill_null(float("nan"))).to_numpy().astype("<f8", order="C")
    data, size = matrix.tobytes(), matrix.shape[1] * matrix.itemsize
    return [data[start : start + size] for start in range(0, len(data), size)]


def unpack(rows: Sequence[StoredRow]) -> pl.DataFrame:
    """A frame of stored rows: customer_id, as_of, input_version, the numeric features, country, channel."""
    ids, days, versions, vectors, countries, channels = zip(*rows, strict=True) if rows else ((),) * 6
    matrix = np.frombuffer(b"".join(bytes(vector) for vector in vectors), dtype="<f8")
    numbers = pl.DataFrame(matrix.reshape(len(rows), len(NUMERIC)).astype(np.float64), schema=list(NUMERIC))
    stamps = pl.DataFrame(
        {"customer_id": ids, "as_of": days, "input_version": versions},
        schema={"customer_id": pl.Int64, "as_of": pl.Date, "input_version": pl.Int64},
    )
    profile = pl.DataFrame(
        {"country": countries, "channel": channels}, schema={"country": pl.String, "channel": pl.String}
    )
    return pl.concat([stamps, numbers.fill_nan(None), profile], how="horizontal")
