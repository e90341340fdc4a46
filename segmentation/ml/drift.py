"""How far a column of today is from the one that was learned from: the population stability index.

PSI = Σ (found − expected) · ln(found / expected) over the bins of the expected column: its tenths for numbers, its
frequent values for texts, and one bin for "missing". By the usual rule of thumb (Siddiqi, Credit Risk Scorecards,
2006) below MOVED nothing has changed, from FAR on what was learned may no longer hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

MOVED, FAR = 0.1, 0.25
LEVELS = np.arange(1, 10) / 10
VALUES = 20
# An empty bin counts as so little, else one customer in it would be infinitely far.
FLOOR = 1e-4

Profile = Mapping[str, Any]


def profile(column: pl.Series) -> dict[str, Any]:
    """JSON of a column's bins and the share of rows in each: {"edges": […]} or {"values": […]}, and "shares"."""
    if column.dtype == pl.String:
        counts = column.drop_nulls().value_counts().sort("count", column.name, descending=[True, False])
        bins: dict[str, Any] = {"values": counts[column.name].head(VALUES).to_list()}
    else:
        known = _numbers(column)
        known = known[np.isfinite(known)]
        edges = np.unique(np.quantile(known, LEVELS)) if len(known) else np.array([])
        bins = {"edges": [float(f"{edge:.6g}") for edge in edges]}
    return {**bins, "shares": [round(float(share), 5) for share in shares(column, bins)]}


def shares(column: pl.Series, bins: Profile) -> np.ndarray:
    """(bins + 1,) share of the rows in each bin; the last is "missing". Of no rows every share is 0."""
    if "values" in bins:
        places = {value: place for place, value in enumerate(bins["values"])}
        other = len(places)
        index = np.array([other + 1 if v is None else places.get(v, other) for v in column.to_list()], int)
        return _counted(index, other + 2)
    values = _numbers(column)
    index = np.searchsorted(np.asarray(bins["edges"]), values, side="left")
    index[~np.isfinite(values)] = len(bins["edges"]) + 1
    return _counted(index, len(bins["edges"]) + 2)


def index(expected: Profile, column: pl.Series) -> float:
    """The PSI of `column` against a profile."""
    before = np.maximum(np.asarray(expected["shares"], dtype=np.float64), FLOOR)
    now = np.maximum(shares(column, expected), FLOOR)
    return float(((now - before) * np.log(now / before)).sum())


def _counted(places: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(places, minlength=size) / max(len(places), 1)


def _numbers(column: pl.Series) -> np.ndarray:
    """(n,) float64, missing as NaN, infinite as missing."""
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
    values[~np.isfinite(values)] = np.nan
    return values
