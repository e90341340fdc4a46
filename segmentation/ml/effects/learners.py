"""Uplift by boosted trees: two models (T), two models and what each says of the other arm (X), one changed label.

T- and X-learner: Künzel, Sekhon, Bickel and Yu, "Metalearners for estimating heterogeneous treatment effects using
machine learning", PNAS 116 (2019). Class transformation: Jaskowski and Jaroszewicz, "Uplift modeling for clinical
trial data", ICML workshop 2012: z = 1 for a treated who ordered and an untreated who did not; with arms of equal weight
the uplift is 2 P(z) - 1, and rows are weighed by one over the chance of their arm so that they are.

Each answers with `mean`: the chance to order with the offer less the chance without, from -1 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from segmentation.ml import artifacts, storage
from segmentation.ml.boosting import LightGBMEstimator
from segmentation.ml.classical import describe, read_description
from segmentation.ml.config import TrainingConfig
from segmentation.ml.effects.rows import Assigned, relabelled
from segmentation.ml.schema import (
    Column,
    EpochReport,
    Frame,
    LearningError,
    OnEpochEnd,
    Prediction,
    Target,
    TargetKind,
    TargetPrediction,
)

TREATED, CONTROL = "treated", "control"
LEAST_ROWS = 50


@dataclass(frozen=True)
class Side:
    """Rows with the label that a model inside is to learn, and how often each row counts."""

    frame: Frame
    labels: np.ndarray
    weights: np.ndarray | None = None


class EffectEstimator:
    """One target, of kind "effect"; the models inside are whole estimators. Learned names end in `_`."""

    name: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]

    def __init__(
        self, *, targets: Sequence[Target], columns: Sequence[Column], config: TrainingConfig | None = None
    ) -> None:
        if len(targets) != 1:
            raise LearningError("The effect of one offer is learned at a time.")
        self.targets = tuple(targets)
        self.columns = tuple(columns)
        self.config = config or TrainingConfig()
        self.models_: dict[str, LightGBMEstimator] = {}
        self.share_ = 0.5

    @property
    def target(self) -> Target:
        return self.targets[0]

    def fit(self, train: Frame, valid: Frame, *, on_epoch_end: OnEpochEnd | None = None) -> Self:
        told = Assigned.of(train, self.target)
        for arm, rows in ((TREATED, told.treated), (CONTROL, 1 - told.treated)):
            if rows.sum() < LEAST_ROWS:
                raise LearningError(
                    f"Only {int(rows.sum())} customers of the {arm} arm can be learned from, {LEAST_ROWS} are needed."
                )
        self.share_ = float(told.propensity.mean())
        self.learn(train, valid, on_epoch_end)
        return self

    def predict(self, frame: Frame) -> Prediction:
        return {self.target.name: TargetPrediction(mean=np.clip(self.effect(frame), -1.0, 1.0))}

    def learn(self, train: Frame, valid: Frame, on_epoch_end: OnEpochEnd | None) -> None:
        raise NotImplementedError

    def effect(self, frame: Frame) -> np.ndarray:
        """(n,) uplift."""
        raise NotImplementedError

    def effect_shares(self, frame: Frame) -> np.ndarray:
        """(n, p) how many points of uplift each column moves, from the average customer learned from."""
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        storage.write_json(directory / "model.json", describe(self) | {"share": self.share_})
        for part, model in self.models_.items():
            artifacts.save(model, directory / part)

    @classmethod
    def load(cls, directory: Path) -> Self:
        described: Mapping[str, Any] = storage.read_json(directory / "model.json")
        estimator = cls(**read_description(described))
        estimator.share_ = described["share"]
        for part in cls.parts:
            model = artifacts.load(directory / part)
            assert isinstance(model, LightGBMEstimator)
            estimator.models_[part] = model
        return estimator

    def boosted(
        self, part: str, kind: TargetKind, train: Side, valid: Side, on_epoch_end: OnEpochEnd | None
    ) -> None:
        """Fit the model called `part` on one side; the other only says when to stop.

        Rare buyers are never made to weigh more: chances that are moved would be subtracted from each other.
        """
        model = LightGBMEstimator(
            targets=[Target(name=part, kind=kind)],
            columns=self.columns,
            config=replace(self.config, imbalance="none"),
        )
        model.fit(
            relabelled(train.frame, part, train.labels, train.weights),
            relabelled(valid.frame, part, valid.labels, valid.weights),
            on_epoch_end=None if on_epoch_end is None else partial(self._report, part, on_epoch_end),
        )
        self.models_[part] = model

    def _report(self, part: str, tell: OnEpochEnd, epoch: EpochReport) -> None:
        """Progress over all models inside."""
        whole = epoch.epochs * len(self.parts)
        done = self.parts.index(part) * epoch.epochs + epoch.epoch
        tell(EpochReport(self.name, done, whole, epoch.train_loss, epoch.valid_loss))

    def chance(self, part: str, frame: Frame) -> np.ndarray:
        return self.models_[part].predict(frame)[part].positive

    def number(self, part: str, frame: Frame) -> np.ndarray:
        return np.asarray(self.models_[part].predict(frame)[part].mean)

    def tree_shares(self, part: str, frame: Frame) -> np.ndarray:
        """(n, p) TreeSHAP of a model inside, in its own units (log-odds, or points of uplift)."""
        model = self.models_[part]
        found = np.asarray(
            model.boosters_[part].predict(model.inputs(frame), pred_contrib=True, num_threads=1)
        )
        return found[:, : len(self.columns)]

    def chance_shares(self, part: str, frame: Frame) -> np.ndarray:
        """(n, p) the same in points of the chance: log-odds times the slope where the customer stands."""
        chance = self.chance(part, frame)
        return self.tree_shares(part, frame) * (chance * (1 - chance))[:, None]


class TLearner(EffectEstimator):
    """A model of each arm; the uplift is their difference."""

    name: ClassVar[str] = "t_learner"
    parts: ClassVar[tuple[str, ...]] = (TREATED, CONTROL)

    def learn(self, train: Frame, valid: Frame, on_epoch_end: OnEpochEnd | None) -> None:
        for part, wanted in ((TREATED, 1.0), (CONTROL, 0.0)):
            sides = []
            for frame in (train, valid):
                told = Assigned.of(frame, self.target)
                rows = told.treated == wanted
                sides.append(Side(frame.take(rows), told.outcome[rows]))
            self.boosted(part, "binary", sides[0], sides[1], on_epoch_end)

    def effect(self, frame: Frame) -> np.ndarray:
        return self.chance(TREATED, frame) - self.chance(CONTROL, frame)

    def effect_shares(self, frame: Frame) -> np.ndarray:
        return self.chance_shares(TREATED, frame) - self.chance_shares(CONTROL, frame)


class XLearner(TLearner):
    """What each arm's model says the other arm missed, learned again; the larger arm's answer counts for more.

    The effect on the treated is learned from their outcome less what the control's model expects of them, and the
    other way round; the two are weighed by the chance of treatment (Künzel et al., equation 9).
    """

    name: ClassVar[str] = "x_learner"
    parts: ClassVar[tuple[str, ...]] = (TREATED, CONTROL, "effect_treated", "effect_control")

    def learn(self, train: Frame, valid: Frame, on_epoch_end: OnEpochEnd | None) -> None:
        super().learn(train, valid, on_epoch_end)
        for part, wanted, other in (("effect_treated", 1.0, CONTROL), ("effect_control", 0.0, TREATED)):
            sides = []
            for frame in (train, valid):
                told = Assigned.of(frame, self.target)
                rows = told.treated == wanted
                mine = frame.take(rows)
                # Of a few rows of one arm the held-out side may have none.
                expected = self.chance(other, mine) if len(mine) else np.zeros(0)
                sign = 1.0 if wanted else -1.0
                sides.append(Side(mine, sign * (told.outcome[rows] - expected)))
            self.boosted(part, "effect", sides[0], sides[1], on_epoch_end)

    def effect(self, frame: Frame) -> np.ndarray:
        treated, control = self.number("effect_treated", frame), self.number("effect_control", frame)
        return self.share_ * control + (1 - self.share_) * treated

    def effect_shares(self, frame: Frame) -> np.ndarray:
        treated, control = (self.tree_shares(part, frame) for part in self.parts[2:])
        return self.share_ * control + (1 - self.share_) * treated


class ClassTransformation(EffectEstimator):
    """One model of one changed label."""

    name: ClassVar[str] = "class_transformation"
    parts: ClassVar[tuple[str, ...]] = ("agrees",)

    def learn(self, train: Frame, valid: Frame, on_epoch_end: OnEpochEnd | None) -> None:
        sides = []
        for frame in (train, valid):
            told = Assigned.of(frame, self.target)
            weights = told.weights / told.weights.mean() if len(frame) else told.weights
            sides.append(Side(frame, (told.outcome == told.treated).astype(np.float64), weights))
        self.boosted("agrees", "binary", sides[0], sides[1], on_epoch_end)

    def effect(self, frame: Frame) -> np.ndarray:
        return 2 * self.chance("agrees", frame) - 1

    def effect_shares(self, frame: Frame) -> np.ndarray:
        return 2 * self.chance_shares("agrees", frame)
