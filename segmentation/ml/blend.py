"""The equal-weight blend: the plain mean of its members' answers, which keeps naming them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from segmentation.ml import artifacts, storage
from segmentation.ml.schema import (
    Column,
    Estimator,
    Frame,
    LearningError,
    OnEpochEnd,
    Prediction,
    Target,
    TargetPrediction,
)


class Blend:
    """Members that all answer the same targets. Fitting fits those members one after the other."""

    name: ClassVar[str] = "blend"

    def __init__(self, members: Sequence[Estimator]) -> None:
        if not members:
            raise LearningError("A blend needs at least one member.")
        names = [target.name for target in members[0].targets]
        for member in members:
            if [target.name for target in member.targets] != names:
                raise LearningError(f"The blend's member {member.name} predicts other targets than {names}.")
        self.members = tuple(members)

    @property
    def targets(self) -> tuple[Target, ...]:
        return self.members[0].targets

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column that some member reads."""
        return tuple(dict.fromkeys(column for member in self.members for column in member.columns))

    @property
    def member_names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    def fit(self, train: Frame, valid: Frame, *, on_epoch_end: OnEpochEnd | None = None) -> Self:
        for member in self.members:
            member.fit(train, valid, on_epoch_end=on_epoch_end)
        return self

    def predict(self, frame: Frame) -> Prediction:
        return mean_prediction([member.predict(frame) for member in self.members])

    def save(self, directory: Path) -> None:
        places = [f"{position}_{member.name}" for position, member in enumerate(self.members)]
        storage.write_json(directory / "model.json", {"members": places})
        for place, member in zip(places, self.members, strict=True):
            artifacts.save(member, directory / place)

    @classmethod
    def load(cls, directory: Path) -> Self:
        described: dict[str, Any] = storage.read_json(directory / "model.json")
        return cls([artifacts.load(directory / place) for place in described["members"]])


def mean_prediction(predictions: Sequence[Prediction]) -> Prediction:
    """The mean of probabilities, means and quantiles, target by target; classes by argmax of the mean."""
    return {name: _mean([prediction[name] for prediction in predictions]) for name in predictions[0]}


def _mean(answers: Sequence[TargetPrediction]) -> TargetPrediction:
    def mean(name: str) -> np.ndarray | None:
        values = [getattr(answer, name) for answer in answers]
        return None if any(value is None for value in values) else np.mean(values, axis=0)

    probabilities = mean("probabilities")
    return TargetPrediction(
        probabilities=probabilities,
        decided=None if probabilities is None else probabilities.argmax(axis=1),
        mean=mean("mean"),
        median=mean("median"),
        lower=mean("lower"),
        upper=mean("upper"),
    )
