"""One training of one family of targets: baselines, network, their blend, calibrated and judged. No rows are written.

A family is a set of targets that share rows: everything about behaviour over one horizon, or one labelled category.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from django.utils.translation import gettext as _

from segmentation import side_by_side
from segmentation.ml import artifacts, combine, families, imbalance, selection, splits
from segmentation.ml.calibration import CalibrationVerdict
from segmentation.ml.config import TrainingConfig, for_labels
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
# Fitted beside whatever is asked for: what anything more elaborate must beat, at the cost of a second.
ALWAYS_BESIDE = ("btyd", "logistic")
ROWS_A_CLASS_NEEDED = 10
ORDER_GROUPS = ((1, "1"), (4, "2–4"), (9, "5–9"))
MANY_ORDERS = "10+"
TENURE_GROUPS = ((90, "0–90"), (365, "91–365"), (730, "366–730"))
LONG_TENURE = "731+"
COUNTRIES_SHOWN = 5
OTHER = "other"

Progress = Callable[[float, str, EpochReport | None], None]


@dataclass(frozen=True)
class Recipe:
    """What to train: all learners are baselines of the candidate, by default the blend that averages the members.

    chosen: the learners were asked for by their names; else the network is whichever the preset names. given: settings
    that the run itself has set, and which no algorithm's own take the place of. tuned: what a search has found best.
    labelled: of labels of staff.
    """

    targets: tuple[Target, ...]
    learners: tuple[str, ...]
    members: tuple[str, ...]
    config: TrainingConfig
    chosen: bool = False
    candidate: str = BLEND
    given: frozenset[str] = frozenset()
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    labelled: bool = False

    def config_of(self, learner: str) -> TrainingConfig:
        found = self.config
        if self.chosen and learner in families.FAMILIES:
            found = families.config_of(learner, self.config, given=self.given, labelled=self.labelled)
        return replace(found, **self.tuned.get(learner, {}))

    def algorithm(self, learner: str) -> str:
        """What a version made by this learner is called."""
        if learner == BLEND and self.config.combine != "mean":
            return self.config.combine
        return self.config.network if learner == NETWORK and not self.chosen else learner

    def weights(self) -> dict[str, float]:
        """How long each takes beside the others, for the progress bar."""
        return {name: families.FAMILIES[self.algorithm(name)].weight for name in self.learners}

    @property
    def baselines(self) -> tuple[str, ...]:
        return tuple(name for name in self.learners if name != self.candidate)


@dataclass(frozen=True)
class Trained:
    """Fitted models by name, "blend" among them; each as it would be served."""

    models: Mapping[str, ServedModel]
    calibration: Mapping[str, tuple[CalibrationVerdict, ...]]
    columns: tuple[Column, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    privacy: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """What each model answered on the test rows, and what that is worth."""

    predictions: Mapping[str, Prediction]
    evaluations: Mapping[str, Evaluation]
    frame: Frame
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rival:
    """A champion's answers on the same rows, per target; `unknown` says why there are none."""

    answers: Prediction = field(default_factory=dict)
    version_ids: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)


def behaviour(
    targets: Sequence[Target],
    config: TrainingConfig,
    *,
    algorithms: Sequence[str] = (),
    given: Collection[str] = (),
) -> Recipe:
    """algorithms: which to train, by name; empty for the usual ones."""
    families.require_private(algorithms, config)
    if algorithms:
        return _chosen(targets, config, algorithms, BEHAVIOUR_MEMBERS, given, with_orders=True)
    return Recipe(tuple(targets), BEHAVIOUR, BEHAVIOUR_MEMBERS, config, given=frozenset(given))


def category(
    target: Target, config: TrainingConfig, *, algorithms: Sequence[str] = (), given: Collection[str] = ()
) -> Recipe:
    families.require_private(algorithms, config)
    config = for_labels(config)
    if algorithms:
        return _chosen((target,), config, algorithms, CATEGORY_MEMBERS, given, with_orders=False)
    return Recipe((target,), CATEGORY, CATEGORY_MEMBERS, config, given=frozenset(given), labelled=True)


def _chosen(
    targets: Sequence[Target],
    config: TrainingConfig,
    algorithms: Sequence[str],
    usual_members: Sequence[str],
    given: Collection[str],
    *,
    with_orders: bool,
) -> Recipe:
    """One algorithm is the candidate itself, several are blended; of all, the usual members are.

    Where all are compared, TabM stands for the network among the usual members.
    """
    wanted = families.chosen(algorithms, with_orders=with_orders)
    beside = [name for name in ALWAYS_BESIDE if with_orders or not families.FAMILIES[name].needs_orders]
    learners = tuple(name for name in families.FAMILIES if name in {*wanted, *beside})
    usual = tuple("tabm" if name == NETWORK else name for name in usual_members)
    members = usual if families.ALL in algorithms else wanted
    candidate = BLEND if len(members) > 1 else members[0]
    return Recipe(
        tuple(targets),
        learners,
        members if candidate == BLEND else (),
        config,
        chosen=True,
        candidate=candidate,
        given=frozenset(given),
        labelled=not with_orders,
    )


def train(
    frame: Frame,
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    kept: side_by_side.Kept | None = None,
) -> Trained:
    """Fit every learner on customers that are not held out; the held-out ones stop, calibrate and set rules.

    kept: where what is learned is laid down on the way, and found again by an attempt after this one. Raises
    NotEnoughData when a class is too rare to learn.
    """
    import torch

    # Results differ by thread count, so it is pinned for the rest of this process.
    torch.set_num_threads(1)
    require_labels(frame, recipe.targets)
    rest, held = splits.hold_out_customers(frame, recipe.config.early_stop_share, salt=recipe.config.seed)
    splits.require_apart(rest, held)
    rest = selection.without_outliers(rest, recipe.config)
    columns = selection.choose(rest, columns_of(rest.x), recipe.targets, recipe.config)
    # Only what is learned from is drawn or made up: held-out rows stay as they came.
    learned = imbalance.resample(rest, recipe.targets, recipe.config.imbalance, seed=recipe.config.seed)
    made = {
        name: artifacts.create(name, targets=recipe.targets, columns=columns, config=recipe.config_of(name))
        for name in recipe.learners
    }
    seconds = side_by_side.fit_all(
        made, learned, held, weights=recipe.weights(), on_epoch=_reporter(progress), kept=kept
    )
    fitted = {name: cast(Estimator, AskedOnce(estimator)) for name, estimator in made.items()}
    everyone: dict[str, Estimator] = dict(fitted)
    if recipe.members:
        everyone[BLEND] = combine.build(recipe.config.combine, recipe.members, fitted, held)
    models = {name: ServedModel(estimator) for name, estimator in everyone.items()}
    calibration = _calibrate(models, held, recipe.targets)
    for model in models.values():
        model.fit_rules(held, power=recipe.config.decision_power)
    if recipe.members:
        seconds[BLEND] = sum(seconds[name] for name in recipe.members)
    privacy = {name: getattr(estimator, "privacy_", {}) for name, estimator in made.items()}
    return Trained(models, calibration, _columns(columns, made), seconds, _notes(made), privacy)


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
    """Evaluate the candidate beside every learner (and the champion) on rows that no fit has seen."""
    test = with_subgroups(test)
    # Judged as served: rounding makes ties, and a tie moves a rank metric.
    predictions: dict[str, Prediction] = {}
    seconds: dict[str, float] = {}
    for name, model in trained.models.items():
        started = time.perf_counter()
        predictions[name] = Predictor(cast(Estimator, model)).predict(test)
        seconds[name] = time.perf_counter() - started
    candidate = recipe.candidate
    baselines = {name: predictions[name] for name in recipe.baselines}
    if rival is not None and rival.answers:
        baselines["champion"] = rival.answers
    own = evaluate(
        predictions[candidate], test, recipe.targets, baselines=baselines, rounds=rounds, seed=seed
    )
    evaluations = {candidate: own}
    for name in recipe.baselines:
        alone = evaluate(predictions[name], test, recipe.targets, rounds=0, seed=seed)
        evaluations[name] = _with_intervals(alone, own, name)
    if recipe.members:
        # The blend has its members' answers already; alone it would have to ask them.
        seconds[BLEND] = sum(seconds[name] for name in recipe.members)
    return Judged(predictions, evaluations, test, seconds)


def require_labels(frame: Frame, targets: Sequence[Target]) -> None:
    """Every class must be there often enough; a value needs buyers."""
    missing: dict[str, tuple[int, int]] = {}
    for target in targets:
        labels = np.asarray(frame.labels[target.name])
        labels = labels[label_mask(target, labels)]
        if target.kind == "value":
            found = {_("training rows with spend"): int((labels > 0).sum())}
        else:
            names = target.classes or _sides(target)
            counts = np.bincount(labels.astype(np.int64), minlength=len(names))
            found = {
                _("training rows of “%(class)s” for %(target)s")
                % {"class": name, "target": target.name}: int(n)
                for name, n in zip(names, counts, strict=True)
            }
        missing |= {what: (n, ROWS_A_CLASS_NEEDED) for what, n in found.items() if n < ROWS_A_CLASS_NEEDED}
    if missing:
        raise NotEnoughData(missing)


def _sides(target: Target) -> tuple[str, str]:
    """What labels 0 and 1 of a yes-or-no target are called."""
    if target.positive and target.horizon_days is None:
        return _("not %(label)s") % {"label": target.positive}, target.positive
    return _("stays"), _("stops buying")


def with_subgroups(frame: Frame) -> Frame:
    """Groups for reports: orders, days since a customer became known, the most frequent countries and channels."""
    groups = dict(frame.groups)
    if "orders_lifetime" in frame.x.columns:
        groups["orders"] = _edges(frame.x["orders_lifetime"], ORDER_GROUPS, MANY_ORDERS)
    for name in ("country", "channel"):
        if name in frame.x.columns:
            groups[name] = _frequent(frame.x[name])
    if "tenure_days" in frame.x.columns:
        groups["tenure"] = _edges(frame.x["tenure_days"], TENURE_GROUPS, LONG_TENURE)
    return replace(frame, groups=groups)


def primary(evaluation: TargetEvaluation) -> str:
    return evaluation.leading or PRIMARY[evaluation.kind]


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


def _columns(columns: Sequence[Column], made: Mapping[str, Estimator]) -> tuple[Column, ...]:
    """The chosen columns, and what an estimator reads whether chosen or not (the purchase model's posteriors)."""
    return tuple(dict.fromkeys([*columns, *(c for estimator in made.values() for c in estimator.columns)]))


def _notes(made: Mapping[str, Estimator]) -> dict[str, Sequence[str]]:
    """What happened to a fit that staff should know: a smaller batch, a form of answering that lost too much."""
    return {name: tuple(getattr(estimator, "notes_", ())) for name, estimator in made.items()}


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


def _edges(values: pl.Series, edges: Sequence[tuple[int, str]], beyond: str) -> np.ndarray:
    """(n,) the name of the first edge that a value does not pass."""
    counts = values.cast(pl.Float64).fill_null(0).fill_nan(0).to_numpy()
    groups = np.full(len(counts), beyond, dtype=object)
    for edge, name in reversed(edges):
        groups[counts <= edge] = name
    return groups


def _frequent(values: pl.Series) -> np.ndarray:
    known = values.fill_null("")
    top = known.value_counts(sort=True).head(COUNTRIES_SHOWN)[known.name].to_list()
    return np.array([value if value in top else OTHER for value in known.to_list()], dtype=object)
