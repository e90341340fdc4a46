"""Model versions: register, compare, promote, roll back. A target's champion is a pointer that can move both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max, Q, QuerySet
from django.utils.translation import gettext as _

from segmentation import artifact_store
from segmentation.models import (
    AuditEntry,
    ModelSlot,
    ModelVersion,
    Promotion,
    ShopContext,
    Target,
    TrainingRun,
)

REGISTER_ATTEMPTS = 5


class RegistryError(Exception):
    """A move the registry refuses; the message says why."""


@dataclass(frozen=True)
class NewVersion:
    """A trained and evaluated model on its way into the registry; `directory` holds its files."""

    algorithm: str
    targets: Sequence[Target]
    directory: Path
    features: Sequence[str]
    catalogue_version: str
    evaluation: Mapping[str, Any]
    data_snapshot: Mapping[str, Any]
    seed: int
    config: Mapping[str, Any] = field(default_factory=dict)
    training_run: TrainingRun | None = None
    context: ShopContext | None = None
    members: Sequence[ModelVersion] = ()
    threads: int = 1
    device: str = "cpu"
    is_challenger: bool = True
    reference: Mapping[str, Any] = field(default_factory=dict)


def register(new: NewVersion) -> ModelVersion:
    """Store version, files and challenger pointers in one transaction; the number is the next free one."""
    for attempt in range(1, REGISTER_ATTEMPTS + 1):
        try:
            with transaction.atomic():
                return _store(new)
        except IntegrityError:
            # Two trainings took the same number; the loser takes the next.
            if attempt == REGISTER_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def champion(target: Target) -> ModelVersion | None:
    slot = ModelSlot.objects.select_related("champion").filter(target=target).first()
    return slot.champion if slot else None


def champions(targets: Sequence[Target]) -> dict[str, ModelVersion]:
    """Target slug to serving version; targets without one are left out."""
    slots = ModelSlot.objects.select_related("champion", "target").filter(target__in=targets)
    return {slot.target.slug: slot.champion for slot in slots if slot.champion is not None}


def promote(
    target: Target, version: ModelVersion, *, by: Any = None, reason: str = "", classify: bool = True
) -> Promotion:
    """Let `version` serve the target from now on; the old champion stays in the history.

    A move made by a person classifies everybody unless they say otherwise, so that no page shows the scores of the
    champion before. What policy promotes after a training waits for the next classification.
    """
    _require_serves(target, version)
    if version.artifact_deleted_at is not None:
        raise RegistryError(file_is_gone(version))
    with transaction.atomic():
        slot = _locked_slot(target)
        if slot.champion_id == version.pk:
            raise RegistryError(
                _("Version %(number)s serves “%(target)s” already.")
                % {"number": version.number, "target": target.name}
            )
        promotion = _move(slot, version, by=by, reason=reason, is_rollback=False)
    if classify:
        _classify_everybody(by)
    return promotion


def roll_back(target: Target, *, by: Any = None, reason: str = "") -> Promotion:
    """Give the target back to the champion before the present one."""
    with transaction.atomic():
        slot = _locked_slot(target)
        previous = _previous(slot)
        if previous is None:
            raise RegistryError(
                _("“%(target)s” has no earlier champion to return to.") % {"target": target.name}
            )
        promotion = _move(slot, previous, by=by, reason=reason, is_rollback=True)
    _classify_everybody(by)
    return promotion


def promotable_again() -> QuerySet[ModelVersion]:
    """Versions that may have to serve at once: champions of now and before, who waits, and members of all these."""
    slots = ModelSlot.objects
    named = [
        *slots.values_list("champion_id", "challenger_id"),
        *Promotion.objects.values_list("old_id", "new_id"),
    ]
    ids = {key for pair in named for key in pair if key is not None}
    return ModelVersion.objects.filter(Q(pk__in=ids) | Q(member_of__in=ids)).distinct()


def previous_champion(target: Target) -> ModelVersion | None:
    """Where a roll back would lead, or None."""
    slot = ModelSlot.objects.filter(target=target).first()
    return _previous(slot) if slot else None


def promotion_diff(target: Target, version: ModelVersion) -> Mapping[str, Any] | None:
    """Who would change class (or by how much the total would) if `version` replaced the present champion.

    Counted on the test customers of its training; None when another champion serves by now or there was none.
    """
    found = version.evaluation.get(target.slug) or {}
    current = champion(target)
    if current is None or found.get("champion_version") != current.pk:
        return None
    diff: Mapping[str, Any] | None = found.get("promotion_diff")
    return diff


def file_is_gone(version: ModelVersion) -> str:
    return _(
        "The model file of version %(number)s was deleted because it never served. Its figures stay; "
        "train again for a model like it."
    ) % {"number": version.number}


def _store(new: NewVersion) -> ModelVersion:
    last = ModelVersion.objects.aggregate(last=Max("number"))["last"] or 0
    version = ModelVersion.objects.create(
        number=last + 1,
        algorithm=new.algorithm,
        training_run=new.training_run,
        config=dict(new.config),
        features=list(new.features),
        catalogue_version=new.catalogue_version,
        context=new.context,
        evaluation=dict(new.evaluation),
        data_snapshot=dict(new.data_snapshot),
        reference=dict(new.reference),
        seed=new.seed,
        threads=new.threads,
        device=new.device,
        artifact_sha256=artifact_store.tree_hash(new.directory),
        artifact_bytes=artifact_store.tree_bytes(new.directory),
    )
    version.targets.set(new.targets)
    version.members.set(new.members)
    artifact_store.save(version, new.directory)
    if new.is_challenger:
        for target in new.targets:
            ModelSlot.objects.update_or_create(target=target, defaults={"challenger": version})
    return version


def _classify_everybody(by: Any) -> None:
    if by is not None:
        # Scoring reads champions from here, so it is imported late.
        from segmentation import scoring_runs

        scoring_runs.start(requested_by=by)


def _require_serves(target: Target, version: ModelVersion) -> None:
    if not version.targets.filter(pk=target.pk).exists():
        raise RegistryError(
            _("Version %(number)s was not trained for “%(target)s”.")
            % {"number": version.number, "target": target.name}
        )


def _locked_slot(target: Target) -> ModelSlot:
    ModelSlot.objects.get_or_create(target=target)
    return ModelSlot.objects.select_for_update().get(target=target)


def _previous(slot: ModelSlot) -> ModelVersion | None:
    """The champion that the present one replaced when it was last promoted, not when it was rolled back to."""
    if slot.champion_id is None:
        return None
    moves = slot.promotions.filter(new_id=slot.champion_id, is_rollback=False).order_by("-pk")
    move = moves.select_related("old").first()
    return move.old if move else None


def _move(slot: ModelSlot, version: ModelVersion, *, by: Any, reason: str, is_rollback: bool) -> Promotion:
    old = slot.champion
    slot.champion = version
    if slot.challenger_id == version.pk:
        slot.challenger = None
    slot.save()
    action = "model.roll_back" if is_rollback else "model.promote"
    AuditEntry.record(
        action,
        version,
        actor=by,
        target=slot.target.slug,
        old=old.number if old else None,
        new=version.number,
        reason=reason,
    )
    return Promotion.objects.create(
        slot=slot,
        old=old,
        new=version,
        is_rollback=is_rollback,
        reason=reason,
        promoted_by=by if getattr(by, "is_authenticated", False) else None,
    )
