"""Trainings without labels: groups of similar customers, and how unusual a customer is. Called in the training's child."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from django.utils.translation import gettext as _

from segmentation import (
    artifact_store,
    group_profiles,
    learning_data,
    monitoring,
    promotion_policy,
    registry,
    serving,
    target_settings,
    targets,
    training_frames,
)
from segmentation.features import context
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.ml import artifacts, evaluation, metrics
from segmentation.ml.clustering import ClusterEstimator, matched
from segmentation.ml.config import TrainingConfig
from segmentation.ml.predictor import Predictor
from segmentation.ml.schema import (
    EpochReport,
    Estimator,
    Frame,
    LearningError,
    Prediction,
    columns_of,
    label_mask,
)
from segmentation.models import ModelVersion, Shop, Target, TrainingRun
from segmentation.training_runs import NotEnoughData

Progress = Callable[[float, str, EpochReport | None], None]
CUSTOMERS_NEEDED = 200
# Whom a refit puts in the same group as before must be this many for it to take over by itself.
AGREEMENT = 0.8
ROUNDS = 200


@dataclass(frozen=True)
class Fitted:
    """What goes into the registry. agreement: share of customers in the same group as before, None at first."""

    estimator: Estimator
    evaluation: Mapping[str, Any]
    extra: Mapping[str, Any]
    agreement: float | None = None


def train(
    row: TrainingRun,
    target: Target,
    config: TrainingConfig,
    *,
    as_of: date,
    shop: Shop,
    progress: Progress,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Fit, judge what can be judged, register; serves at once if it is the first or agrees with the champion."""
    progress(0.0, _("Reading history"), None)
    frame = training_frames.present_frame(as_of=as_of, shop=shop, most=learning_data.MAX_ROWS)
    if len(frame) < CUSTOMERS_NEEDED:
        raise NotEnoughData({_("customers with an order in the last year"): (len(frame), CUSTOMERS_NEEDED)})
    watch = partial(_report, progress)
    if target.kind == Target.Kind.CLUSTERS:
        fitted = _groups(target, frame, config, watch)
    else:
        fitted = _anomaly(target, frame, config, watch, as_of=as_of, shop=shop, rounds=rounds)
    progress(0.95, _("Storing the models"), None)
    targets.require_there([target])
    version = _store(row, target, frame, fitted, config, as_of=as_of, shop=shop)
    return {"version": version.number, "targets": {target.slug: _promote(target, version, fitted)}}


def _report(progress: Progress, epoch: EpochReport) -> None:
    share = 0.2 + 0.7 * epoch.epoch / max(epoch.epochs, 1)
    progress(share, _("Looking for structure: step %(step)s") % {"step": epoch.epoch}, epoch)


def _groups(
    target: Target, frame: Frame, config: TrainingConfig, watch: Callable[[EpochReport], None]
) -> Fitted:
    """Habits only: what staff can picture, so that a group can be said in a sentence."""
    method, count = target_settings.cluster_method(target)
    own = frame.x.select(name for name in group_profiles.HABITS if name in frame.x.columns)
    narrow = Frame(frame.ids, frame.cutoffs, own)
    # The names come with the fit; a class target has two from the start.
    asked = targets.schema.Target(name=target.slug, kind="multiclass", classes=("group_1", "group_2"))
    model = ClusterEstimator(
        targets=[asked], columns=columns_of(own), config=config, method=method, count=count
    )
    model.fit(narrow, narrow, on_epoch_end=watch)
    labels = _decided(model.predict(narrow), target)
    names, agreement = _names(target, model, narrow, labels)
    model.name_groups(names)
    found = group_profiles.profiles(frame, labels, names)
    figures = {
        "kind": "clusters",
        "rows": len(frame),
        "method": model.method,
        "choices": [asdict(choice) for choice in model.choices_],
        "chosen": len(names),
        "agreement": agreement,
    }
    return Fitted(
        cast(Estimator, model),
        figures,
        {"classes": {target.slug: list(names)}, "profiles": found},
        agreement,
    )


def _decided(prediction: Prediction, target: Target) -> np.ndarray:
    return np.asarray(prediction[target.slug].decided)


def _names(
    target: Target, model: ClusterEstimator, frame: Frame, labels: np.ndarray
) -> tuple[list[str], float | None]:
    """Names of the groups, those of the champion where they are the same people; and how many of them are."""
    count = len(model.groups_.centres)
    fresh = int(target.settings.get("next_group", 1))
    champion = registry.champion(target)
    before = _answers(champion, frame, target) if champion is not None else None
    if champion is None or before is None:
        names, agreement = [f"group_{fresh + number}" for number in range(count)], None
    else:
        old = list(champion.config.get("classes", {}).get(target.slug, ()))
        names = matched(before, labels, old, count, fresh)
        same = np.array(old, dtype=object)[before] == np.array(names, dtype=object)[labels]
        agreement = float(same.mean())
    used = [int(name.removeprefix("group_")) for name in names]
    target.settings = {**target.settings, "next_group": max([fresh - 1, *used]) + 1}
    Target.objects.filter(pk=target.pk).update(settings=target.settings)
    return names, agreement


def _answers(version: ModelVersion, frame: Frame, target: Target) -> np.ndarray | None:
    """The champion's groups of the same customers; None where it cannot answer any more."""
    try:
        return _decided(serving.predictor(version).predict(frame), target)
    except (LearningError, artifact_store.ArtifactDamaged):
        return None


def _anomaly(
    target: Target,
    frame: Frame,
    config: TrainingConfig,
    watch: Callable[[EpochReport], None],
    *,
    as_of: date,
    shop: Shop,
    rounds: int,
) -> Fitted:
    from segmentation.ml.anomaly import AnomalyEstimator

    model = AnomalyEstimator(targets=[targets.to_schema(target)], columns=columns_of(frame.x), config=config)
    model.fit(frame, frame, on_epoch_end=watch)
    parts = model.percentiles(frame)
    forest, coder = (pl.Series(parts[name]) for name in ("forest", "autoencoder"))
    figures: dict[str, Any] = {
        "kind": "anomaly",
        "rows": len(frame),
        # Two methods that know nothing of each other: how alike they order the customers.
        "methods_agree": float(pl.DataFrame({"a": forest, "b": coder}).select(pl.corr("a", "b")).item()),
    }
    if target.attribute is not None:
        figures |= _against_examples(target, model, as_of=as_of, shop=shop, rounds=rounds)
    return Fitted(cast(Estimator, model), figures, {})


def _against_examples(target: Target, model: Any, *, as_of: date, shop: Shop, rounds: int) -> dict[str, Any]:
    """How well it ranks customers whom staff have marked. It has not learned from the marks, so all may be asked."""
    marked = training_frames.category_frame(target, as_of=as_of, shop=shop)
    if not len(marked):
        return {}
    labels = np.asarray(marked.labels[target.slug])
    known = label_mask(targets.to_schema(target), labels)
    labels = labels[known]
    if len(np.unique(labels)) < 2:
        return {}
    score = np.asarray(model.predict(marked)[target.slug].mean)[known]
    wanted: dict[str, evaluation.Measure] = {
        "auc": partial(metrics.auc, labels, score),
        "average_precision": partial(metrics.average_precision, labels, score),
    }
    drawn = evaluation.with_intervals(wanted, marked.ids[known], rounds=rounds, seed=1)
    return {
        "primary": "auc",
        "examples": int((labels > 0).sum()),
        "metrics": {name: asdict(metric) for name, metric in drawn.items()},
    }


def _store(
    row: TrainingRun,
    target: Target,
    frame: Frame,
    fitted: Fitted,
    config: TrainingConfig,
    *,
    as_of: date,
    shop: Shop,
) -> ModelVersion:
    answers = Predictor(fitted.estimator).predict(frame)
    with tempfile.TemporaryDirectory() as working:
        place = Path(working) / fitted.estimator.name
        artifacts.save(fitted.estimator, place)
        return registry.register(
            registry.NewVersion(
                algorithm=fitted.estimator.name,
                targets=[target],
                directory=place,
                features=[column.name for column in fitted.estimator.columns],
                catalogue_version=CATALOGUE_VERSION,
                evaluation={target.slug: fitted.evaluation},
                data_snapshot=training_frames.snapshot(frame),
                seed=config.seed,
                config={**config.to_json(), **fitted.extra},
                training_run=row,
                context=context.for_date(as_of, shop),
                reference=monitoring.reference(frame, answers, fitted.estimator.targets),
            )
        )


def _promote(target: Target, version: ModelVersion, fitted: Fitted) -> dict[str, Any]:
    """There is no right answer to be better at: the first serves, a refit that moves few customers takes over."""
    champion = registry.champion(target)
    if champion is None:
        reason = _("The first of “%(target)s”.") % {"target": target.name}
    elif target.promotes == Target.Promotes.BY_HAND:
        return promotion_policy.left_to_a_person()
    elif fitted.agreement is None:
        reason = _("Found anew from today's customers.")
        if target.kind == Target.Kind.CLUSTERS:
            return {
                "verdict": "unknown",
                "reason": _("The groups before cannot be compared: a person decides."),
            }
    elif fitted.agreement < AGREEMENT:
        share = f"{fitted.agreement:.0%}"
        return {
            "verdict": "unknown",
            "reason": _("Only %(share)s of the customers stay in their group: a person decides.")
            % {"share": share},
        }
    else:
        reason = _("%(share)s of the customers stay in their group.") % {"share": f"{fitted.agreement:.0%}"}
    registry.promote(target, version, reason=reason)
    return {"verdict": "first" if champion is None else "better", "reason": reason}
