"""One training of one family of targets: baselines, network, their blend, calibrated and judged. No rows are written.

A family is a set of targets that share rows: everything about behaviour over one horizon, or one labelled category.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
from django.utils.translation import gettext as _

from segmentation import side_by_side
from segmentation.ml import artifacts, splits
from segmentation.ml.blend import Blend
from segmentation.ml.calibration import CalibrationVerdict
from segmentation.ml.config import TrainingConfig
from segmentation.ml.evaluation import PRIMARY, Evaluation, TargetEvaluation, evaluate
from segmentation.ml.predictor import Predictor
from segmentation.ml.schema import (
    Column,
    EpochReport,
    Estimator,
    Frame,
    Prediction,
    Target,
    columns_of,
    label_mask,
)
from segmentation.ml.served import ServedModel
from segmentation.training_runs import NotEnoughData

BLEND = "blend"
NETWORK = "mlp"
# Learners of behaviour, in the order they are trained; the blend is the plain mean of its members.
BEHAVIOUR = ("btyd", "logistic", "lightgbm", NETWORK)
BEHAVIOUR_MEMBERS = ("btyd", "lightgbm", NETWORK)
CATEGORY = ("logistic", "lightgbm", NETWORK)
CATEGORY_MEMBERS = ("lightgbm", NETWORK)
# How long each takes beside the others, for the progress bar.
WEIGHTS = {"btyd": 0.03, "logistic": 0.07, "lightgbm": 0.3, NETWORK: 0.6}
ROWS_A_CLASS_NEEDED = 10
ORDER_GROUPS = ((1, "1"), (4, "2–4"), (9, "5–9"))
MANY_ORDERS = "10+"
COUNTRIES_SHOWN = 5
OTHER = "other"

Progress = Callable[[float, str, EpochReport | None], None]


@dataclass(frozen=True)
class Recipe:
    """What to train: all learners are baselines of the blend, which averages the members."""

    targets: tuple[Target, ...]
    learners: tuple[str, ...]
    members: tuple[str, ...]
    config: TrainingConfig


@dataclass(frozen=True)
class Trained:
    """Fitted models by name, "blend" among them; each as it would be served."""

    models: Mapping[str, ServedModel]
    calibration: Mapping[str, tuple[CalibrationVerdict, ...]]
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Judged:
    """What each model answered on the test rows, and what that is worth."""

    predictions: Mapping[str, Prediction]
    evaluations: Mapping[str, Evaluation]
    frame: Frame


@dataclass(frozen=True)
class Rival:
    """A champion's answers on the same rows, per target; `unknown` says why there are none."""

    answers: Prediction = field(default_factory=dict)
    version_ids: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)


def behaviour(targets: Sequence[Target], config: TrainingConfig) -> Recipe:
    return Recipe(tuple(targets), BEHAVIOUR, BEHAVIOUR_MEMBERS, config)


def category(target: Target, config: TrainingConfig) -> Recipe:
    return Recipe((target,), CATEGORY, CATEGORY_MEMBERS, config)


def train(frame: Frame, recipe: Recipe, *, progress: Progress | None = None) -> Trained:
    """Fit every learner on customers that are not held out; the held-out ones stop, calibrate and set rules.

    Raises NotEnoughData when a class is too rare to learn.
    """
    import torch

    # Results differ by thread count, so it is pinned for the rest of this process.
    torch.set_num_threads(1)
    require_labels(frame, recipe.targets)
    columns = columns_of(frame.x)
    rest, held = splits.hold_out_customers(frame, recipe.config.early_stop_share, salt=recipe.config.seed)
    splits.require_apart(rest, held)
    made = {
        name: artifacts.create(name, targets=recipe.targets, columns=columns, config=recipe.config)
        for name in recipe.learners
    }
    side_by_side.fit_all(made, rest, held, weights=WEIGHTS, on_epoch=_reporter(progress))
    fitted = {name: cast(Estimator, AskedOnce(estimator)) for name, estimator in made.items()}
    blend = cast(Estimator, Blend([fitted[name] for name in recipe.members]))
    everyone: dict[str, Estimator] = {**fitted, BLEND: blend}
    models = {name: ServedModel(estimator) for name, estimator in everyone.items()}
    calibration = _calibrate(models, held, recipe.targets)
    for model in models.values():
        model.fit_rules(held, power=recipe.config.decision_power)
    return Trained(models, calibration, columns)


class AskedOnce:
    """A fitted estimator that answers for the same rows once: it serves alone, in the blend and in the report."""

    def __init__(self, estimator: Estimator) -> None:
        self.estimator = estimator
        self.name: str = estimator.name
        self.targets = estimator.targets
        self.columns = estimator.columns
        self._answers: dict[int, tuple[pl.DataFrame, Prediction]] = {}

    def predict(self, frame: Frame) -> Prediction:
        # The rows are kept beside their answer, so that no other frame can take over their identity.
        known = self._answers.get(id(frame.x))
        if known is None:
            known = self._answers[id(frame.x)] = (frame.x, self.estimator.predict(frame))
        return known[1]

    def save(self, directory: Path) -> None:
        self.estimator.save(directory)


def judge(
    trained: Trained, test: Frame, recipe: Recipe, *, rival: Rival | None = None, rounds: int, seed: int
) -> Judged:
    """Evaluate the blend beside every learner (and the champion) on rows that no fit has seen."""
    test = with_subgroups(test)
    # Judged as served: rounding makes ties, and a tie moves a rank metric.
    predictions = {
        name: Predictor(cast(Estimator, model)).predict(test) for name, model in trained.models.items()
    }
    baselines = {name: predictions[name] for name in recipe.learners}
    if rival is not None and rival.answers:
        baselines["champion"] = rival.answers
    blend = evaluate(predictions[BLEND], test, recipe.targets, baselines=baselines, rounds=rounds, seed=seed)
    evaluations = {BLEND: blend}
    for name in recipe.learners:
        alone = evaluate(predictions[name], test, recipe.targets, rounds=0, seed=seed)
        evaluations[name] = _with_intervals(alone, blend, name)
    return Judged(predictions, evaluations, test)


def require_labels(frame: Frame, targets: Sequence[Target]) -> None:
    """Every class must be there often enough; a value needs buyers."""
    missing: dict[str, tuple[int, int]] = {}
    for target in targets:
        labels = np.asarray(frame.labels[target.name])
        labels = labels[label_mask(target, labels)]
        if target.kind == "value":
            found = {_("training rows with spend"): int((labels > 0).sum())}
        else:
            names = target.classes or (_("stays"), _("stops buying"))
            counts = np.bincount(labels.astype(np.int64), minlength=len(names))
            found = {
                _("training rows of “%(class)s” for %(target)s")
                % {"class": name, "target": target.name}: int(n)
                for name, n in zip(names, counts, strict=True)
            }
        missing |= {what: (n, ROWS_A_CLASS_NEEDED) for what, n in found.items() if n < ROWS_A_CLASS_NEEDED}
    if missing:
        raise NotEnoughData(missing)


def with_subgroups(frame: Frame) -> Frame:
    """Groups for reports: how many orders a customer has, and the most frequent countries."""
    groups = dict(frame.groups)
    if "orders_lifetime" in frame.x.columns:
        groups["orders"] = _order_groups(frame.x["orders_lifetime"])
    if "country" in frame.x.columns:
        groups["country"] = _frequent(frame.x["country"])
    return replace(frame, groups=groups)


def primary(evaluation: TargetEvaluation) -> str:
    return PRIMARY[evaluation.kind]


def cutoffs_of(frame: Frame) -> list[date]:
    return sorted({day.item() for day in np.unique(frame.cutoffs.astype("datetime64[D]"))})


def _calibrate(
    models: Mapping[str, ServedModel], held: Frame, targets: Sequence[Target]
) -> dict[str, tuple[CalibrationVerdict, ...]]:
    """Fit on held-out customers at the cutoffs whose labels were complete at the latest, keep what helps there."""
    *before, last = cutoffs_of(held)
    horizon = max(target.horizon_days or 0 for target in targets)
    known = splits.complete_by(last, before, horizon_days=horizon)
    if not known:
        return {}
    earlier, latest = splits.rows_at(held, known), splits.rows_at(held, [last])
    splits.require_apart(earlier, latest)
    return {name: model.calibrate(earlier, latest) for name, model in models.items()}


def _reporter(progress: Progress | None) -> side_by_side.OnEpoch | None:
    if progress is None:
        return None

    def report(fraction: float, epoch: EpochReport | None) -> None:
        progress(fraction, _note(epoch), epoch)

    return report


def _note(epoch: EpochReport | None) -> str:
    if epoch is None:
        return _("Training the boosted trees")
    if epoch.estimator == NETWORK:
        return _("Training the network: epoch %(epoch)s") % {"epoch": epoch.epoch}
    return _("Training %(learner)s: step %(step)s") % {"learner": epoch.estimator, "step": epoch.epoch}


def _with_intervals(alone: Evaluation, blend: Evaluation, name: str) -> Evaluation:
    """A learner's own curves with the intervals that the blend's report already drew for it."""
    targets = {
        slug: replace(found, metrics=blend.targets[slug].baselines[name])
        for slug, found in alone.targets.items()
    }
    return Evaluation(targets=targets, rounds=blend.rounds, seed=blend.seed)


def _order_groups(orders: pl.Series) -> np.ndarray:
    counts = orders.fill_null(0).fill_nan(0).to_numpy()
    groups = np.full(len(counts), MANY_ORDERS, dtype=object)
    for edge, name in reversed(ORDER_GROUPS):
        groups[counts <= edge] = name
    return groups


def _frequent(values: pl.Series) -> np.ndarray:
    known = values.fill_null("")
    top = known.value_counts(sort=True).head(COUNTRIES_SHOWN)[known.name].to_list()
    return np.array([value if value in top else OTHER for value in known.to_list()], dtype=object)
