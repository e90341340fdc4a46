"""What uplift learners learn from: a frame whose rows also say who was treated, and with which chance.

Labels of a frame: the target's own name → 1.0 who ordered, 0.0 who did not; TREATED → 1.0 or 0.0; PROPENSITY → the
chance of being treated that the draw (or the log) knew, above 0 and below 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from segmentation.ml.schema import Frame, LearningError, Target

TREATED: Final = "treated"
PROPENSITY: Final = "propensity"
# Which row counts how often in a fit (ml/boosting.py).
WEIGHT: Final = "row_weight"


@dataclass(frozen=True)
class Assigned:
    """(n,) each: outcome and treatment as 0.0 or 1.0, and the chance of treatment."""

    outcome: np.ndarray
    treated: np.ndarray
    propensity: np.ndarray

    @classmethod
    def of(cls, frame: Frame, target: Target) -> Assigned:
        """Raises LearningError where somebody could not have been in the other arm."""
        missing = {TREATED, PROPENSITY, target.name} - set(frame.labels)
        if missing:
            raise LearningError(f"Rows of an effect lack {', '.join(sorted(missing))}.")
        found = cls(
            *(np.asarray(frame.labels[name], dtype=np.float64) for name in (target.name, TREATED, PROPENSITY))
        )
        if ((found.propensity <= 0) | (found.propensity >= 1)).any():
            raise LearningError(
                "Some customers could only be in one arm, so nothing can be learned of the effect. Hold some out."
            )
        return found

    @property
    def weights(self) -> np.ndarray:
        """(n,) one over the chance of the arm that came about: with them both arms stand for everybody."""
        return self.treated / self.propensity + (1 - self.treated) / (1 - self.propensity)


def relabelled(frame: Frame, name: str, labels: np.ndarray, weights: np.ndarray | None = None) -> Frame:
    """The rows with one label alone, for a learner inside a learner."""
    found = {name: labels} if weights is None else {name: labels, WEIGHT: weights}
    return replace(frame, labels=found)
