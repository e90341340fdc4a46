"""The present champions' answers on the test rows of a new training, where the comparison is fair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from django.utils.translation import gettext as _

from segmentation import artifact_store, registry, serving
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.learners import Rival
from segmentation.learning_data import Material
from segmentation.ml.schema import LearningError, TargetPrediction
from segmentation.models import ModelVersion, Target


def find(family: Sequence[Target], material: Material) -> Rival:
    """Answers of each target's champion; where there can be none, the reason in words."""
    answers: dict[str, TargetPrediction] = {}
    version_ids: dict[str, int] = {}
    unknown: dict[str, str] = {}
    for slug, version in registry.champions(family).items():
        reason = unfair(version, material)
        if not reason:
            try:
                answers[slug] = serving.predictor(version).predict(material.test)[slug]
            except (LearningError, artifact_store.ArtifactDamaged) as error:
                reason = str(error)
        version_ids[slug] = version.pk
        if reason:
            unknown[slug] = reason
    return Rival(answers, version_ids, unknown)


def changes(
    slug: str, answer: TargetPrediction, rival: Rival, classes: Sequence[str]
) -> dict[str, Any] | None:
    """What a promotion would change on the test customers, for staff; None without a comparable champion.

    Classes: counts of old class → new class. Binary: who crosses one half. Values: both totals.
    """
    before = rival.answers.get(slug)
    if before is None:
        return None
    if answer.mean is not None and before.mean is not None:
        return {
            "rows": len(answer.mean),
            "total_before": float(before.mean.sum()),
            "total_after": float(answer.mean.sum()),
        }
    old, new = _decided(before), _decided(answer)
    names = list(classes) or ["stays", "leaves"]
    moves = {
        names[a]: {names[b]: int(((old == a) & (new == b)).sum()) for b in range(len(names))}
        for a in range(len(names))
    }
    return {"rows": len(new), "changed": int((old != new).sum()), "moves": moves}


def _decided(answer: TargetPrediction) -> np.ndarray:
    """(n,) class index: the model's own decision, or the likelier side."""
    if answer.decided is not None:
        return answer.decided
    if answer.probabilities is None:
        raise LearningError("This prediction names no class.")
    return answer.probabilities.argmax(axis=1)


def unfair(version: ModelVersion, material: Material) -> str:
    """Why the champion cannot be compared on these rows, or ""."""
    if version.catalogue_version != CATALOGUE_VERSION:
        return _(
            "The champion was trained on an older set of features, so it cannot answer for the test customers."
        )
    if not _same_classes(version.config.get("classes", {}), material):
        return _("The champion knows other classes than the new version.")
    learned = version.data_snapshot.get("cutoffs", {})
    if learned and max(learned) >= str(material.snapshot["test_cutoff"]) and not _is_category(material):
        return _("The champion has learned from the day on which the new version is tested.")
    return ""


def _same_classes(classes: Mapping[str, Sequence[str]], material: Material) -> bool:
    return all(
        tuple(classes.get(target.name, ())) == target.classes for target in material.targets if target.classes
    )


def _is_category(material: Material) -> bool:
    """Categories are tested on held-out customers of the same day, always the same ones."""
    return all(target.horizon_days is None for target in material.targets)
