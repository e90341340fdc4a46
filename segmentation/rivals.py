"""The present champions' answers on the test rows of a new training, where the comparison is fair."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
from django.utils.translation import gettext as _

from segmentation import artifact_store, registry, serving
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.learners import Rival
from segmentation.learning_data import Material
from segmentation.ml import splits
from segmentation.ml.schema import LearningError, TargetPrediction
from segmentation.ml.schema import Target as Learned
from segmentation.models import ModelVersion, Target


def find(family: Sequence[Target], material: Material) -> Rival:
    """Answers of each target's champion; where there can be none, the reason in words."""
    answers: dict[str, TargetPrediction] = {}
    version_ids: dict[str, int] = {}
    unknown: dict[str, str] = {}
    learned = {target.name: target for target in material.targets}
    for slug, version in registry.champions(family).items():
        reason = unfair(version, learned[slug], material)
        if not reason:
            try:
                answers[slug] = serving.predictor(version).predict(material.test)[slug]
            except (LearningError, artifact_store.ArtifactDamaged) as error:
                reason = str(error)
        version_ids[slug] = version.pk
        if reason:
            unknown[slug] = reason
    return Rival(answers, version_ids, unknown)


def events_read(family: Sequence[Target]) -> int:
    """How many of each customer's newest events the champions answer from; 0 where none of them reads any."""
    return max([0, *(v.config.get("reads_events", 0) for v in registry.champions(family).values())])


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


def unfair(version: ModelVersion, target: Learned, material: Material) -> str:
    """Why the target's champion cannot be compared on these rows, or ""."""
    if version.catalogue_version != CATALOGUE_VERSION:
        return _(
            "The champion was trained on an older set of features, so it cannot answer for the test customers."
        )
    if target.classes and tuple(version.config.get("classes", {}).get(target.name, ())) != target.classes:
        return _("The champion knows other classes than the new version.")
    if tuple(version.config.get("tier_cuts", {}).get(target.name, ())) != _tier_cuts(target, material):
        return _(
            "The champion cuts the tiers at other amounts than the new version, so its tiers mean others."
        )
    if _has_seen(version, target, date.fromisoformat(material.snapshot["test_cutoff"])):
        return _(
            "The champion has learned from what customers did in the days on which the new version is tested."
        )
    return ""


def _tier_cuts(target: Learned, material: Material) -> tuple[float, ...]:
    return tuple(material.tier_cuts.get(target.name, ()))


def _has_seen(version: ModelVersion, target: Learned, test: date) -> bool:
    """Whether a label that the version learned from lies in the test window.

    Not for categories: they are tested on held-out customers of the same day, always the same ones.
    """
    learned = [date.fromisoformat(day) for day in version.data_snapshot.get("cutoffs", {})]
    if target.horizon_days is None or not learned:
        return False
    return max(learned) not in splits.complete_by(test, learned, horizon_days=target.horizon_days)
