"""The present champions' answers on the test rows of a new training, where the comparison is fair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
