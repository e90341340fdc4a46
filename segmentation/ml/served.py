"""The model as it is evaluated and served: an estimator, its calibrators and its fixed decision rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from segmentation.ml import artifacts, storage
from segmentation.ml.calibration import CalibrationVerdict, Calibrator, DecisionRule, choose_rule, judge
from segmentation.ml.schema import Column, Estimator, Frame, OnEpochEnd, Prediction, Target, TargetPrediction

POWER = 0.7


class ServedModel:
    """Wraps a fitted estimator; `calibrators` and `rules` are keyed by target."""

    name: ClassVar[str] = "served"

    def __init__(
        self,
        estimator: Estimator,
        *,
        calibrators: Mapping[str, Calibrator] | None = None,
        rules: Mapping[str, DecisionRule] | None = None,
    ) -> None:
        self.estimator = estimator
        self.calibrators = dict(calibrators or {})
        self.rules = dict(rules or {})

    @property
    def targets(self) -> tuple[Target, ...]:
        return self.estimator.targets

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.estimator.columns

    def fit(self, train: Frame, valid: Frame, *, on_epoch_end: OnEpochEnd | None = None) -> Self:
        """Fit the estimator, then its decision rules on the held-out rows; calibrators start afresh."""
        self.estimator.fit(train, valid, on_epoch_end=on_epoch_end)
        self.calibrators = {}
        return self.fit_rules(valid)

    def fit_rules(self, valid: Frame, *, power: float = POWER) -> Self:
        """One rule for each multiclass target, chosen on `valid` rows, which were not learned from.

        The rule's prior is the mean prediction at the last of their days, the nearest to whoever the model will
        decide on that is known by then.
        """
        self.rules = {}
        last = valid.cutoffs == valid.cutoffs.max()
        prediction = self.predict(valid)
        for target in self.targets:
            answer = prediction[target.name]
            if target.kind == "multiclass" and answer.probabilities is not None:
                rule = choose_rule(target, answer, np.asarray(valid.labels[target.name]), power=power)
                self.rules[target.name] = rule.with_prior_of(answer.probabilities[last])
        return self

    def calibrate(self, fit_on: Frame, check_on: Frame) -> tuple[CalibrationVerdict, ...]:
        """Try one calibrator per target and keep those that help on `check_on`, a later cutoff than `fit_on`.

        Neither frame may hold rows that the estimator learned from. Decision rules read calibrated
        probabilities: fit them after this.
        """
        raw = self.estimator.predict(fit_on), fit_on
        later = self.estimator.predict(check_on), check_on
        verdicts = tuple(judge(target, fit_on=raw, check_on=later) for target in self.targets)
        self.calibrators = {v.target: v.calibrator for v in verdicts if v.accepted}
        return verdicts

    def predict(self, frame: Frame) -> Prediction:
        return {name: self._finish(name, answer) for name, answer in self.estimator.predict(frame).items()}

    def save(self, directory: Path) -> None:
        storage.write_json(
            directory / "model.json",
            {
                "calibrators": {name: calibrator.to_json() for name, calibrator in self.calibrators.items()},
                "rules": {name: rule.to_json() for name, rule in self.rules.items()},
            },
        )
        artifacts.save(self.estimator, directory / "estimator")

    @classmethod
    def load(cls, directory: Path) -> Self:
        described = storage.read_json(directory / "model.json")
        return cls(
            artifacts.load(directory / "estimator"),
            calibrators={name: Calibrator(**state) for name, state in described["calibrators"].items()},
            rules={name: DecisionRule.from_json(state) for name, state in described["rules"].items()},
        )

    def _finish(self, name: str, answer: TargetPrediction) -> TargetPrediction:
        if name in self.calibrators:
            answer = self.calibrators[name].apply(answer)
        if name in self.rules and answer.probabilities is not None:
            answer = replace(answer, decided=self.rules[name].decide(answer.probabilities))
        return answer
