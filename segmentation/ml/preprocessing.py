"""Feature columns to network inputs, learned from training rows alone.

Numbers become normal quantiles clipped at +-4 with a missing indicator; text becomes an index into the
categories seen in training, 0 for unknown. Infinities count as missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from scipy.special import ndtri

from segmentation.ml.schema import Column, LearningError
from segmentation.ml.storage import Tensors

KNOTS = 512
CLIP = 4.0
UNKNOWN = 0
MIN_CATEGORY_ROWS = 5
MAX_CATEGORIES = 64


@dataclass(frozen=True)
class Encoded:
    """numeric: (n, p) float32, the numbers and then the missing indicators. categorical: (n, c) int64."""

    numeric: np.ndarray
    categorical: np.ndarray

    def __len__(self) -> int:
        return len(self.numeric)


@dataclass(frozen=True)
class NumericScale:
    """Knots of one number in rising order and their normal quantiles; between knots it is linear."""

    knots: np.ndarray
    quantiles: np.ndarray
    indicator: bool

    @classmethod
    def fit(cls, values: np.ndarray) -> Self:
        known = values[np.isfinite(values)]
        indicator = 0 < len(known) < len(values)
        if not len(known):
            return cls(np.zeros(1), np.zeros(1), indicator)
        ranks = np.linspace(0.0, 1.0, min(KNOTS, len(known)))
        points = np.quantile(known, ranks)
        knots, first, count = np.unique(points, return_index=True, return_counts=True)
        # A value that fills several quantiles sits at the middle of them.
        middle = (ranks[first] + ranks[first + count - 1]) / 2
        edge = 0.5 / len(known)
        return cls(knots, np.clip(ndtri(np.clip(middle, edge, 1 - edge)), -CLIP, CLIP), indicator)

    def apply(self, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        return np.where(missing, 0.0, np.interp(values, self.knots, self.quantiles))


@dataclass(frozen=True)
class Preprocessor:
    """Fitted state; `fit` sees training rows only and nothing changes it afterwards."""

    columns: tuple[Column, ...]
    scales: Mapping[str, NumericScale]
    vocabularies: Mapping[str, tuple[str, ...]]

    @classmethod
    def fit(cls, x: pl.DataFrame, columns: Sequence[Column]) -> Self:
        check_columns(x, columns)
        numeric = [column.name for column in columns if column.kind == "numeric"]
        texts = [column.name for column in columns if column.kind == "categorical"]
        return cls(
            columns=tuple(columns),
            scales={name: NumericScale.fit(numbers(x, name)) for name in numeric},
            vocabularies={name: _vocabulary(x[name]) for name in texts},
        )

    @property
    def numeric_sources(self) -> tuple[str, ...]:
        """The feature behind each numeric input, indicators included."""
        return (*self.scales, *self._indicators)

    @property
    def category_sizes(self) -> tuple[int, ...]:
        """Number of indices of each categorical input, the unknown one included."""
        return tuple(len(words) + 1 for words in self.vocabularies.values())

    @property
    def _indicators(self) -> tuple[str, ...]:
        return tuple(name for name, scale in self.scales.items() if scale.indicator)

    def transform(self, x: pl.DataFrame) -> Encoded:
        check_columns(x, self.columns)
        values = matrix(x, list(self.scales))
        missing = ~np.isfinite(values)
        # Column by column in memory while it is filled column by column.
        numeric = np.empty((x.height, len(self.numeric_sources)), dtype=np.float32, order="F")
        extra = len(self.scales)
        for position, scale in enumerate(self.scales.values()):
            numeric[:, position] = scale.apply(values[:, position], missing[:, position])
            if scale.indicator:
                numeric[:, extra] = missing[:, position]
                extra += 1
        return Encoded(numeric=np.ascontiguousarray(numeric), categorical=self.category_codes(x))

    def category_codes(self, x: pl.DataFrame) -> np.ndarray:
        """(n, c) int64 indices; categories not seen in training, and nulls, are UNKNOWN."""
        codes = np.empty((x.height, len(self.vocabularies)), dtype=np.int64)
        for position, (name, words) in enumerate(self.vocabularies.items()):
            code = {word: number for number, word in enumerate(words, start=UNKNOWN + 1)}
            codes[:, position] = [code.get(word, UNKNOWN) for word in x[name].cast(pl.String).to_list()]
        return codes

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON part and tensor part; `from_state` is its inverse."""
        described = {
            "columns": [column.to_json() for column in self.columns],
            "vocabularies": {name: list(words) for name, words in self.vocabularies.items()},
            "knots": {name: len(scale.knots) for name, scale in self.scales.items()},
            "indicators": list(self._indicators),
        }
        empty = [np.zeros(0)]
        tensors = {
            "knots": np.concatenate([scale.knots for scale in self.scales.values()] or empty),
            "quantiles": np.concatenate([scale.quantiles for scale in self.scales.values()] or empty),
        }
        return described, tensors

    @classmethod
    def from_state(cls, described: Mapping[str, Any], tensors: Tensors) -> Self:
        columns = tuple(Column.from_json(item) for item in described["columns"])
        numeric = [column.name for column in columns if column.kind == "numeric"]
        texts = [column.name for column in columns if column.kind == "categorical"]
        ends = np.cumsum([described["knots"][name] for name in numeric], dtype=np.int64)[:-1]
        knots, quantiles = np.split(tensors["knots"], ends), np.split(tensors["quantiles"], ends)
        return cls(
            columns=columns,
            scales={
                name: NumericScale(knots[i], quantiles[i], name in described["indicators"])
                for i, name in enumerate(numeric)
            },
            vocabularies={name: tuple(described["vocabularies"][name]) for name in texts},
        )


def check_columns(x: pl.DataFrame, columns: Sequence[Column]) -> None:
    present = set(x.columns)
    absent = [column.name for column in columns if column.name not in present]
    if absent:
        raise LearningError(f"The frame lacks columns this model needs: {', '.join(absent)}.")


def numbers(x: pl.DataFrame, name: str) -> np.ndarray:
    """(n,) float64 of a numeric or boolean column, NaN where null."""
    return matrix(x, [name])[:, 0]


def matrix(x: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """(n, p) float64 of numeric or boolean columns, NaN where null; each column is contiguous."""
    kinds = x.schema
    texts = [name for name in names if kinds[name] == pl.String]
    if texts:
        raise LearningError(f"The column {texts[0]} should hold numbers, it holds text.")
    values = np.empty((x.height, len(names)), order="F")
    # Column by column: a query over all of them takes longer than a single customer's network.
    for position, name in enumerate(names):
        column = x.get_column(name)
        whole = column if column.dtype == pl.Float64 else column.cast(pl.Float64)
        values[:, position] = whole.to_numpy()
    return values


def _vocabulary(values: pl.Series) -> tuple[str, ...]:
    """Categories frequent enough to learn from, most frequent first; ties in alphabetical order."""
    counts = values.cast(pl.String).drop_nulls().value_counts()
    name = counts.columns[0]
    kept = counts.filter(pl.col("count") >= MIN_CATEGORY_ROWS).sort("count", name, descending=[True, False])
    return tuple(kept[name].head(MAX_CATEGORIES))
