"""How each feature is spread over the customers: worked out by a worker from a sample, drawn on the catalogue page."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
from django.db import transaction
from django.db.models import Max, Min

from segmentation.features import store
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.models import AttributeDefinition, CustomerFeatures, FeaturePortrait, Shop

# Shares of a sample of this size are off by less than one percent.
SAMPLE = 20_000
BARS = 12
# The longest tails would leave one bar for everybody else; whoever is further out counts in the outermost bar.
TAIL = 0.01
DECILES = np.arange(1, 10) / 10


def refresh(frame: pl.DataFrame, *, as_of: date) -> FeaturePortrait:
    """Draw the features anew from a sample; replaces the portrait before."""
    drawn = {column.name: describe(column) for column in frame.drop("customer_id").get_columns()}
    with transaction.atomic():
        FeaturePortrait.objects.all().delete()
        return FeaturePortrait.objects.create(
            as_of=as_of, catalogue_version=CATALOGUE_VERSION, customers=frame.height, data=drawn
        )


def describe(column: pl.Series) -> dict[str, Any]:
    """`missing`: share without a value. Few values: `values` [[value, count]], many: `edges` and `counts`.

    Numbers have their nine `deciles` besides.
    """
    if column.dtype == pl.String:
        column = column.set(column == "", None)
        known = column.drop_nulls()
        return _missing(column, known) | {"values": _most(known)}
    numbers = column.cast(pl.Float64).fill_nan(None)
    known = numbers.drop_nulls()
    return _missing(numbers, known) | (_spread(known.to_numpy()) if len(known) else {"values": []})


def sample(as_of: date) -> pl.DataFrame:
    """Stored features and the shop's own columns of customers at even distances by id."""
    span = CustomerFeatures.objects.aggregate(first=Min("customer"), last=Max("customer"))
    first, last = span["first"] or 0, span["last"] or 0
    ids = range(first, last + 1, (last - first) // SAMPLE + 1)
    features = store.read_features(ids).drop("as_of", "input_version")
    learned = AttributeDefinition.objects.filter(is_feature=True).values_list("slug", flat=True)
    attributes = store.read_customers(features["customer_id"].to_list(), as_of=as_of, shop=Shop.get())
    wanted = [name for name in (f"attribute.{slug}" for slug in learned) if name in attributes.columns]
    return features.join(attributes.select("customer_id", *wanted), on="customer_id", how="left")


def _missing(column: pl.Series, known: pl.Series) -> dict[str, float]:
    return {"missing": round(1 - len(known) / len(column), 4) if len(column) else 0.0}


def _most(known: pl.Series) -> list[list[Any]]:
    counts = known.value_counts().sort("count", known.name, descending=[True, False])
    return [list(row) for row in counts.head(BARS).iter_rows()]


def _spread(known: np.ndarray) -> dict[str, Any]:
    values, counts = np.unique(known, return_counts=True)
    deciles = [_short(value) for value in np.quantile(known, DECILES)]
    if len(values) <= BARS:
        pairs = zip(values, counts, strict=True)
        return {"values": [[_short(value), int(count)] for value, count in pairs], "deciles": deciles}
    low, high = np.quantile(known, (TAIL, 1 - TAIL))
    if low == high:
        low, high = values[0], values[-1]
    inside, edges = np.histogram(np.clip(known, low, high), bins=BARS, range=(low, high))
    return {
        "edges": [_short(edge) for edge in edges],
        "counts": [int(count) for count in inside],
        "deciles": deciles,
    }


def _short(value: float) -> float:
    """Six digits are enough to draw."""
    return float(f"{value:.6g}")
