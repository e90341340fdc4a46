"""Which model version answers which target, and its answers for a frame of features. Loads torch only to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from segmentation import artifact_store, registry, targets
from segmentation.ml.schema import Frame, TargetPrediction
from segmentation.models import ModelVersion, Target
from segmentation.stages import stage

if TYPE_CHECKING:
    from segmentation.ml.predictor import Predictor

# Why a customer has no score.
NOT_PROFILED = "not_profiled"
NO_MODEL = "no_model"
MODEL_OUTDATED = "model_outdated"
NO_ORDERS = "no_orders"
NO_RECENT_ORDER = "no_order_in_365_days"
CACHED_PREDICTORS = 8


@dataclass(frozen=True)
class Serving:
    """A target and the version that answers it; without one there are no scores, but rules still apply."""

    target: Target
    version: ModelVersion | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the stored probabilities."""
        if self.version is not None and self.target.kind == Target.Kind.CATEGORY:
            stored = self.version.config.get("classes", {}).get(self.target.slug)
            if stored:
                return tuple(stored)
        return targets.classes(self.target)


@dataclass(frozen=True)
class Answers:
    """What a version says of n customers for one target; NaN, empty and -1 where it says nothing.

    value, median, lower, upper: (n,) float64. label: (n,) class index. probabilities: (n, k) or None.
    abstained: (n,) the reason, or "" where there is a score.
    """

    serving: Serving
    value: np.ndarray
    median: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    label: np.ndarray
    probabilities: np.ndarray | None
    abstained: np.ndarray


def current(pins: Mapping[str, int] | None = None) -> tuple[Serving, ...]:
    """Every active target with its champion, or with the versions pinned by target slug."""
    wanted = targets.active()
    if pins is None:
        serving = registry.champions(wanted)
        return tuple(Serving(target, serving.get(target.slug)) for target in wanted)
    versions = ModelVersion.objects.in_bulk(list(pins.values()))
    return tuple(Serving(target, versions.get(pins.get(target.slug, 0))) for target in wanted)


def pins(servings: Sequence[Serving]) -> dict[str, int]:
    return {serving.target.slug: serving.version.pk for serving in servings if serving.version is not None}


@stage("predict")
def answer(
    servings: Sequence[Serving],
    features: pl.DataFrame,
    *,
    profiled: np.ndarray,
    outside: np.ndarray,
    catalogue_version: str,
) -> list[Answers]:
    """Answers of every serving for the customers of `features`, whose rows may be any number.

    profiled: (n,) who may be profiled. outside: (n,) why a customer is none of those that behaviour is learned
    from (NO_ORDERS, NO_RECENT_ORDER), or "".
    """
    predictions: dict[int, Mapping[str, TargetPrediction]] = {}
    answers = []
    for serving in servings:
        outdated = _is_outdated(serving.version, features.columns, catalogue_version)
        abstained = _abstained(serving, profiled=profiled, outside=outside, outdated=outdated)
        rows = np.flatnonzero(abstained == "")
        if serving.version is None or not len(rows):
            answers.append(_spread(serving, None, rows, abstained))
            continue
        # One version's targets share their population, so its rows are the same for each of them.
        if serving.version.pk not in predictions:
            predictions[serving.version.pk] = _predict(serving.version, features[rows])
        answers.append(
            _spread(serving, predictions[serving.version.pk][serving.target.slug], rows, abstained)
        )
    return answers


def predictor(version: ModelVersion) -> Predictor:
    """The loaded model of a version, kept by this process while it is among the last few used."""
    return _predictor(version.artifact_sha256, version.pk)


@lru_cache(maxsize=CACHED_PREDICTORS)
def _predictor(sha256: str, version_id: int) -> Predictor:
    from segmentation.ml.predictor import Predictor

    return Predictor.load(artifact_store.fetch(ModelVersion.objects.get(pk=version_id)))


def _predict(version: ModelVersion, features: pl.DataFrame) -> Mapping[str, TargetPrediction]:
    ids = features["customer_id"].to_numpy()
    cutoffs = np.zeros(len(ids), dtype="datetime64[D]")
    return predictor(version).predict(Frame(ids=ids, cutoffs=cutoffs, x=features.drop("customer_id")))


def _is_outdated(version: ModelVersion | None, columns: Sequence[str], catalogue_version: str) -> bool:
    """Trained on features that mean something else now, or that the shop no longer has."""
    if version is None:
        return False
    return version.catalogue_version != catalogue_version or not set(version.features) <= set(columns)


def _abstained(serving: Serving, *, profiled: np.ndarray, outside: np.ndarray, outdated: bool) -> np.ndarray:
    """(n,) why there is no score; the first reason that applies."""
    everyone = np.full(len(profiled), "", dtype=object)
    reasons = everyone if serving.target.kind == Target.Kind.CATEGORY else outside.copy()
    if serving.version is None:
        reasons[:] = NO_MODEL
    elif outdated:
        reasons[:] = MODEL_OUTDATED
    reasons[~profiled] = NOT_PROFILED
    return reasons


def _spread(
    serving: Serving, prediction: TargetPrediction | None, rows: np.ndarray, abstained: np.ndarray
) -> Answers:
    """The prediction of some rows laid out over all of them."""
    count = len(abstained)

    def laid(values: np.ndarray | None) -> np.ndarray:
        whole = np.full(count, np.nan)
        if values is not None:
            whole[rows] = values
        return whole

    probabilities = None if prediction is None else prediction.probabilities
    label = np.full(count, -1, dtype=np.int64)
    value = None if prediction is None else prediction.mean
    if probabilities is not None and prediction is not None:
        if targets.is_class_target(serving.target):
            decided = probabilities.argmax(axis=1) if prediction.decided is None else prediction.decided
            label[rows] = decided
            value = probabilities[np.arange(len(rows)), decided]
        else:
            value, probabilities = prediction.positive, None
    whole = None
    if probabilities is not None:
        whole = np.full((count, probabilities.shape[1]), np.nan)
        whole[rows] = probabilities
    return Answers(
        serving=serving,
        value=laid(value),
        median=laid(None if prediction is None else prediction.median),
        lower=laid(None if prediction is None else prediction.lower),
        upper=laid(None if prediction is None else prediction.upper),
        label=label,
        probabilities=whole,
        abstained=abstained,
    )
