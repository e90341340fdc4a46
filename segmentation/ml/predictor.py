"""Serving: a verified artifact that answers alike for one customer and for a million."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from segmentation.ml import artifacts
from segmentation.ml.preprocessing import check_columns
from segmentation.ml.schema import Column, Estimator, Frame, Prediction, Target, TargetPrediction
from segmentation.ml.threads import one_thread

# Thresholds see numbers of this many decimals, so the last bits of a float never decide an offer.
DECIMALS = 6


class Predictor:
    """Estimators run in batches of one fixed size on one thread; answers are rounded before any use."""

    def __init__(self, estimator: Estimator) -> None:
        self.estimator = estimator

    @classmethod
    def load(cls, directory: Path) -> Self:
        return cls(artifacts.load(directory))

    @property
    def targets(self) -> tuple[Target, ...]:
        return self.estimator.targets

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.estimator.columns

    @property
    def events_read(self) -> int:
        """How many of a customer's newest events it wants beside the columns; 0 if none."""
        return events_read(self.estimator)

    def predict(self, frame: Frame) -> Prediction:
        """Answers rounded to DECIMALS; extra columns are ignored, absent ones named in the error."""
        check_columns(frame.x, self.columns)
        with one_thread():
            prediction = self.estimator.predict(frame)
        return {name: rounded(answer) for name, answer in prediction.items()}


def events_read(estimator: Any) -> int:
    """The most events that the estimator, or one inside it, reads."""
    inside = [*getattr(estimator, "members", ()), *filter(None, [getattr(estimator, "estimator", None)])]
    return max([getattr(estimator, "events_read", 0), *(events_read(part) for part in inside)])


def rounded(answer: TargetPrediction) -> TargetPrediction:
    """Every number to DECIMALS; classes stay as decided."""
    return replace(answer.map(lambda values: np.round(values, DECIMALS)), decided=answer.decided)
