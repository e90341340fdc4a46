"""Which model version answers which target, and its answers for a frame of features. Loads torch only to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from segmentation import artifact_store, registry, targets
from segmentation.ml.schema import Frame, TargetPrediction
from segmentation.ml.sequences import Sequences
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
TOO_FEW_ORDERS = "too_few_orders"
CACHED_PREDICTORS = 8
NewestEvents = Callable[[int], Sequences]


@dataclass(frozen=True)
class Serving:
    """A target and the version that answers it; without one there are no scores, but rules still apply."""

    target: Target
    version: ModelVersion | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the stored probabilities."""
        if self.version is not None and self.target.kind in {Target.Kind.CATEGORY, Target.Kind.CLUSTERS}:
            stored = self.version.config.get("classes", {}).get(self.target.slug)
            if stored:
                return tuple(stored)
        return targets.classes(self.target)


@dataclass(frozen=True)
class Answers:
    """What a version says of n customers for one target; NaN, empty and -1 where it says nothing.

    value, median, lower, upper: (n,) float64. label: (n,) class index. probabilities: (n, k) or None.
    abstained: (n,) the reason, or "" where there is a score.
    said: (n,) the class that staff set instead (segmentation/overrides.py), "" where none; None: for nobody.
    """

    serving: Serving
    value: np.ndarray
    median: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    label: np.ndarray
    probabilities: np.ndarray | None
    abstained: np.ndarray
    said: np.ndarray | None = None

    @property
    def decided(self) -> np.ndarray:
        """(n,) the model's own class in words, "" without a score."""
        words = np.array([*self.serving.classes, ""], dtype=object)
        return np.asarray(words[self.label])

    @property
    def in_force(self) -> np.ndarray:
        """(n,) the class that counts: what staff set, else the model's own; "" where there is neither."""
        own = self.decided
        return own if self.said is None else np.where(self.said != "", self.said, own)


def current(pins: Mapping[str, int] | None = None) -> tuple[Serving, ...]:
    """Every active target with its champion, or with the versions pinned by target slug."""
    wanted = targets.scored()
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
    newest_events: NewestEvents | None = None,
    orders: np.ndarray | None = None,
) -> list[Answers]:
    """Answers of every serving for the customers of `features`, whose rows may be any number.

    profiled: (n,) who may be profiled. outside: (n,) why a customer is none of those that behaviour is learned
    from (NO_ORDERS, NO_RECENT_ORDER), or "". newest_events: gives the last so many events of all these customers, for
    versions that read them; it is asked only then. orders: (n,) how many there are, for targets that need more than one.
    """
    predictions: dict[tuple[int, int], Mapping[str, TargetPrediction]] = {}
    newest = lru_cache(newest_events) if newest_events is not None else None
    answers = []
    for serving in servings:
        outdated = _is_outdated(serving.version, features.columns, catalogue_version)
        outside_it = _with_too_few(serving.target, outside, orders)
        abstained = _abstained(serving, profiled=profiled, outside=outside_it, outdated=outdated)
        rows = np.flatnonzero(abstained == "")
        if serving.version is None or not len(rows):
            answers.append(_spread(serving, None, rows, abstained))
            continue
        # One version's targets mostly share their population; one that asks for more orders has fewer rows.
        key = (serving.version.pk, len(rows))
        if key not in predictions:
            predictions[key] = _predict(serving.version, features, rows, newest)
        answers.append(_spread(serving, predictions[key][serving.target.slug], rows, abstained))
    return answers


def predictor(version: ModelVersion) -> Predictor:
    """The loaded model of a version, kept by this process while it is among the last few used."""
    return _predictor(version.artifact_sha256, version.pk)


@lru_cache(maxsize=CACHED_PREDICTORS)
def _predictor(sha256: str, version_id: int) -> Predictor:
    from segmentation.ml.predictor import Predictor

    return Predictor.load(artifact_store.fetch(ModelVersion.objects.get(pk=version_id)))


def _predict(
    version: ModelVersion, features: pl.DataFrame, rows: np.ndarray, newest: NewestEvents | None
) -> Mapping[str, TargetPrediction]:
    made = predictor(version)
    events = newest(made.events_read).take(rows) if newest is not None and made.events_read else None
    chosen = features if len(rows) == features.height else features[rows]
    ids = chosen["customer_id"].to_numpy()
    cutoffs = np.zeros(len(ids), dtype="datetime64[D]")
    return made.predict(Frame(ids=ids, cutoffs=cutoffs, x=chosen.drop("customer_id"), events=events))


def _is_outdated(version: ModelVersion | None, columns: Sequence[str], catalogue_version: str) -> bool:
    """Trained on features that mean something else now, or that the shop no longer has."""
    if version is None:
        return False
    return version.catalogue_version != catalogue_version or not set(version.features) <= set(columns)


def _with_too_few(target: Target, outside: np.ndarray, orders: np.ndarray | None) -> np.ndarray:
    """(n,) `outside` with TOO_FEW_ORDERS where the target asks for more orders than there are."""
    if orders is None or target.min_orders <= 1:
        return outside
    return np.where((outside == "") & (orders < target.min_orders), TOO_FEW_ORDERS, outside).astype(object)


def _abstained(serving: Serving, *, profiled: np.ndarray, outside: np.ndarray, outdated: bool) -> np.ndarray:
    """(n,) why there is no score; the first reason that applies."""
    everyone = np.full(len(profiled), "", dtype=object)
    reasons = everyone if targets.is_labelled(serving.target) else outside.copy()
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
    if serving.target.kind == Target.Kind.NEXT_ORDER and probabilities is not None:
        # What is asked is "by then", and what is learned "in that span".
        probabilities = np.round(np.cumsum(probabilities, axis=1), 6)
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
