"""One number that says how well a prediction answers: what options are chosen by, on held-out rows. Lower is better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segmentation.ml.schema import Frame, Prediction, Target, TargetPrediction, label_mask

EPSILON = 1e-6


def loss(target: Target, answer: TargetPrediction, frame: Frame) -> float:
    """Log loss of classes; of a value the mean absolute error of the median beside the mean spend. 0 without labels."""
    labels = np.asarray(frame.labels[target.name])
    known = label_mask(target, labels)
    if not known.any():
        return 0.0
    truth = labels[known]
    if target.kind == "value":
        guess = answer.mean if answer.median is None else answer.median
        return float(np.abs(np.asarray(guess)[known] - truth).mean() / max(float(truth.mean()), EPSILON))
    chances = np.asarray(answer.probabilities)[known][np.arange(len(truth)), truth.astype(np.int64)]
    return float(-np.log(np.maximum(chances, EPSILON)).mean())


def total(targets: Sequence[Target], prediction: Prediction, frame: Frame) -> float:
    """The mean loss over targets."""
    return float(np.mean([loss(target, prediction[target.name], frame) for target in targets]))
