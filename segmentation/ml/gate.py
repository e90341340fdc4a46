"""Is there enough to learn from? Asked before a fit, answered with the numbers that are missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segmentation.ml.schema import Frame, LearningError, NotEnoughData, Target, label_mask

MIN_CUSTOMERS = 200
MIN_CLASS_ROWS = 20


def require_enough(frame: Frame, targets: Sequence[Target]) -> None:
    """Raise NotEnoughData unless there are customers enough and rows enough of every class of every target."""
    absent = [target.name for target in targets if target.name not in frame.labels]
    if absent:
        raise LearningError(f"The training frame has no labels for: {', '.join(absent)}.")
    missing = {}
    customers = len(np.unique(frame.ids))
    if customers < MIN_CUSTOMERS:
        missing["customers"] = (customers, MIN_CUSTOMERS)
    for target in targets:
        for name, rows in _rows_by_class(target, np.asarray(frame.labels[target.name])).items():
            if rows < MIN_CLASS_ROWS:
                missing[f"rows with {target.name} = {name}"] = (rows, MIN_CLASS_ROWS)
    if missing:
        raise NotEnoughData(missing)


def _rows_by_class(target: Target, labels: np.ndarray) -> dict[str, int]:
    known = labels[label_mask(target, labels)]
    if target.kind == "multiclass":
        return {name: int((known == index).sum()) for index, name in enumerate(target.classes)}
    if target.kind == "binary":
        return {"yes": int((known > 0).sum()), "no": int((known <= 0).sum())}
    return {"more than 0": int((known > 0).sum())}
