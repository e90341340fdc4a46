"""Every feature there is. To add one, write it in the family it belongs to; nothing else needs to change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import polars as pl

from segmentation.features.baskets import IN_THE_BASKET
from segmentation.features.buying import BUYING
from segmentation.features.engagement import ENGAGEMENT
from segmentation.features.feature import Feature
from segmentation.features.outlook import OUTLOOK
from segmentation.features.texts import TEXTS

CATALOGUE: tuple[Feature, ...] = (*BUYING, *IN_THE_BASKET, *ENGAGEMENT, *TEXTS, *OUTLOOK)
BY_NAME: dict[str, Feature] = {feature.name: feature for feature in CATALOGUE}
# Categorical features are columns of the customer already, so stored vectors hold numbers only.
NUMERIC: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE if feature.kind != "categorical")
CATEGORICAL: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE if feature.kind == "categorical")


def version_of(features: Iterable[Feature]) -> str:
    """A short hash of the definitions: the same features in the same order give the same version."""
    text = "\n".join(feature.definition for feature in features)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


CATALOGUE_VERSION: str = version_of(CATALOGUE)


def terms() -> tuple[str, ...]:
    """Names of all the terms that the expressions use."""
    names = {name for feature in CATALOGUE for name in feature.expression.meta.root_names()}
    return tuple(sorted(names))


def expressions() -> list[pl.Expr]:
    """One expression a feature, named and typed."""
    return [
        feature.expression.cast(pl.String if feature.kind == "categorical" else pl.Float64).alias(
            feature.name
        )
        for feature in CATALOGUE
    ]
