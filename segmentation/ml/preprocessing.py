"""Feature columns to network inputs, learned from training rows alone.

Numbers become normal quantiles clipped at +-4 with a missing indicator; text becomes an index into the
categories seen in training, 0 for unknown. Infinities count as missing. config.Preprocessing names the other ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl
from scipy.special import ndtri

from segmentation.ml import storage
from segmentation.ml.config import Preprocessing
from segmentation.ml.interpolation import interpolate
from segmentation.ml.projection import Imputer, Projection
from segmentation.ml.schema import Column, LearningError
from segmentation.ml.storage import Tensors

KNOTS = 512
CLIP = 4.0
UNKNOWN = 0
MIN_CATEGORY_ROWS = 5
MAX_CATEGORIES = 64
DEFAULT = Preprocessing()
# A standardised number further out than this is cut: one absurd order must not move a whole network.
MOST_SPREADS = 10.0


@dataclass(frozen=True)
class Encoded:
    """numeric: (n, p) float32, the numbers and then the missing indicators. categorical: (n, c) int64."""

    numeric: np.ndarray
    categorical: np.ndarray

    def __len__(self) -> int:
        return len(self.numeric)


@dataclass(frozen=True)
class NumericScale:
    """Knots of one number in rising order and what they become; between knots it is linear, beyond them level.

    Every way of scaling and cutting is such a line. fill: what stands for an unknown number, after scaling.
    """

    knots: np.ndarray
    quantiles: np.ndarray
    indicator: bool
    fill: float = 0.0

    @classmethod
    def fit(cls, values: np.ndarray, how: Preprocessing = DEFAULT) -> Self:
        known = values[np.isfinite(values)]
        indicator = 0 < len(known) < len(values)
        if not len(known):
            return cls(np.zeros(1), np.zeros(1), indicator)
        known = _cut(known, how.outliers)
        made = _SCALES[how.scaling](known)
        middle = 0.0 if how.imputation == "constant" else float(np.median(known))
        usual = how.scaling == "quantile_normal" and how.imputation != "constant"
        fill = 0.0 if usual else float(np.interp(middle, *made))
        return cls(*made, indicator, fill)

    def apply(self, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        return np.where(missing, self.fill, interpolate(values, self.knots, self.quantiles))


@dataclass(frozen=True)
class Preprocessor:
    """Fitted state; `fit` sees training rows only and nothing changes it afterwards."""

    columns: tuple[Column, ...]
    scales: Mapping[str, NumericScale]
    vocabularies: Mapping[str, tuple[str, ...]]
    how: Preprocessing = DEFAULT
    imputer: Imputer | None = None
    projection: Projection | None = None

    @classmethod
    def fit(cls, x: pl.DataFrame, columns: Sequence[Column], how: Preprocessing = DEFAULT) -> Self:
        check_columns(x, columns)
        numeric = [column.name for column in columns if column.kind == "numeric"]
        texts = [column.name for column in columns if column.kind == "categorical"]
        plain = cls(
            columns=tuple(columns),
            scales={name: NumericScale.fit(numbers(x, name), how) for name in numeric},
            vocabularies={name: _vocabulary(x[name]) for name in texts},
            how=how,
        )
        filled = replace(plain, imputer=Imputer.fit(*plain._scaled(x), how.imputation))
        if not how.pca or not numeric:
            return filled
        return replace(filled, projection=Projection.fit(filled._numbers(x), how.pca))

    @property
    def numeric_sources(self) -> tuple[str, ...]:
        """The feature behind each numeric input, indicators included; components have no single one."""
        if self.projection is not None:
            return tuple(f"component {i}" for i in range(1, self.projection.size + 1)) + self._hot_sources
        return (*self.scales, *self._indicators, *self._hot_sources)

    @property
    def category_sizes(self) -> tuple[int, ...]:
        """Number of indices of each categorical input, the unknown one included; none where they are one-hot."""
        if self.how.categories == "one_hot":
            return ()
        return self._sizes

    @property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(len(words) + 1 for words in self.vocabularies.values())

    @property
    def _hot_sources(self) -> tuple[str, ...]:
        if self.how.categories != "one_hot":
            return ()
        return tuple(name for name, words in self.vocabularies.items() for _ in range(len(words) + 1))

    @property
    def _indicators(self) -> tuple[str, ...]:
        return tuple(name for name, scale in self.scales.items() if scale.indicator)

    def transform(self, x: pl.DataFrame) -> Encoded:
        check_columns(x, self.columns)
        numeric, codes = self._numbers(x), self.category_codes(x)
        if self.projection is not None:
            numeric = self.projection.apply(numeric)
        if self.how.categories == "one_hot":
            hot = [
                np.eye(size, dtype=np.float32)[codes[:, position]]
                for position, size in enumerate(self._sizes)
            ]
            numeric, codes = np.concatenate([numeric, *hot], axis=1), codes[:, :0]
        return Encoded(numeric=np.ascontiguousarray(numeric), categorical=codes)

    def _numbers(self, x: pl.DataFrame) -> np.ndarray:
        """(n, p) float32: scaled and filled numbers, then the missing indicators."""
        scaled, missing = self._scaled(x)
        if self.imputer is not None:
            scaled = self.imputer.apply(scaled, missing)
        # Column by column in memory while it is filled column by column.
        numeric = np.empty((x.height, scaled.shape[1] + len(self._indicators)), dtype=np.float32, order="F")
        numeric[:, : scaled.shape[1]] = scaled
        extra = scaled.shape[1]
        for position, scale in enumerate(self.scales.values()):
            if scale.indicator:
                numeric[:, extra] = missing[:, position]
                extra += 1
        return numeric

    def _scaled(self, x: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """(n, p) float64 scaled numbers with each column's fill, and (n, p) True where one was unknown."""
        values = matrix(x, list(self.scales))
        missing = ~np.isfinite(values)
        scaled = np.empty(values.shape, order="F")
        for position, scale in enumerate(self.scales.values()):
            scaled[:, position] = scale.apply(values[:, position], missing[:, position])
        return scaled, missing

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
            "how": asdict(self.how),
        }
        empty = [np.zeros(0)]
        tensors = {
            "knots": np.concatenate([scale.knots for scale in self.scales.values()] or empty),
            "quantiles": np.concatenate([scale.quantiles for scale in self.scales.values()] or empty),
            "fills": np.array([scale.fill for scale in self.scales.values()]),
        }
        for name, part in (("imputer", self.imputer), ("projection", self.projection)):
            if part is not None:
                tensors |= storage.with_prefix(name, part.state())
        return described, tensors

    @classmethod
    def from_state(cls, described: Mapping[str, Any], tensors: Tensors) -> Self:
        columns = tuple(Column.from_json(item) for item in described["columns"])
        numeric = [column.name for column in columns if column.kind == "numeric"]
        texts = [column.name for column in columns if column.kind == "categorical"]
        ends = np.cumsum([described["knots"][name] for name in numeric], dtype=np.int64)[:-1]
        knots, quantiles = np.split(tensors["knots"], ends), np.split(tensors["quantiles"], ends)
        # Versions from before there was a choice have neither.
        fills = tensors.get("fills", np.zeros(len(numeric)))
        imputer, projection = (storage.under_prefix(name, tensors) for name in ("imputer", "projection"))
        return cls(
            columns=columns,
            scales={
                name: NumericScale(knots[i], quantiles[i], name in described["indicators"], float(fills[i]))
                for i, name in enumerate(numeric)
            },
            vocabularies={name: tuple(described["vocabularies"][name]) for name in texts},
            how=Preprocessing(**described.get("how", {})),
            imputer=Imputer(**imputer) if imputer else None,
            projection=Projection(**projection) if projection else None,
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


def _cut(known: np.ndarray, outliers: str) -> np.ndarray:
    """The numbers with those far out moved to the border; scales are level beyond what they have seen."""
    if outliers == "iqr":
        first, third = np.quantile(known, [0.25, 0.75])
        reach = 1.5 * (third - first)
        # Half the customers with one and the same number have no distance between quartiles: nothing is cut then.
        return np.clip(known, first - reach, third + reach) if reach > 0 else known
    if outliers == "quantile":
        return np.clip(known, *np.quantile(known, [0.01, 0.99]))
    return known


def _quantile_normal(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ranks = np.linspace(0.0, 1.0, min(KNOTS, len(known)))
    points = np.quantile(known, ranks)
    knots, first, count = np.unique(points, return_index=True, return_counts=True)
    # A value that fills several quantiles sits at the middle of them.
    middle = (ranks[first] + ranks[first + count - 1]) / 2
    edge = 0.5 / len(known)
    return knots, np.clip(ndtri(np.clip(middle, edge, 1 - edge)), -CLIP, CLIP)


def _standard(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centre, spread = float(known.mean()), float(known.std())
    if spread < 1e-12:
        return np.zeros(1), np.zeros(1)
    ends = np.array([-MOST_SPREADS, MOST_SPREADS])
    low, high = np.clip(ends, (known.min() - centre) / spread, (known.max() - centre) / spread)
    return np.array([centre + low * spread, centre + high * spread]), np.array([low, high])


def _min_max(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = float(known.min()), float(known.max())
    return (np.array([low, high]), np.array([0.0, 1.0])) if high > low else (np.zeros(1), np.zeros(1))


_SCALES = {"quantile_normal": _quantile_normal, "standard": _standard, "min_max": _min_max}
