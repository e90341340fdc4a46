"""How long results are kept. Events stay; decisions and what they saw go after a while, in short transactions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from segmentation import artifact_store, registry
from segmentation.models import Decision, InputSnapshot, ModelVersion, StoredFileChunk

DECISION_DAYS = 400
# A training leaves some megabytes behind, mostly of models that will never serve.
MODEL_DAYS = 30
# Uploaded files, rejected lines and predictions of evaluations are personal data in the clear.
FILE_DAYS = 7
FILE_FOLDERS = ("uploads", "imports", "evaluations")
BATCH = 2000


def prune_decisions(*, days: int = DECISION_DAYS) -> int:
    """Delete decisions older than `days`, except each customer's latest; then snapshots nothing refers to."""
    newer = Decision.objects.filter(customer_id=OuterRef("customer_id"), pk__gt=OuterRef("pk"))
    old = Decision.objects.filter(Exists(newer), decided_at__lt=Now() - timedelta(days=days))
    deleted = sum(delete_in_batches(old))
    used = Decision.objects.filter(snapshot_id=OuterRef("pk"))
    unused = InputSnapshot.objects.filter(~Exists(used), created_at__lt=Now() - timedelta(days=days))
    return deleted + sum(delete_in_batches(unused))


def prune_models(*, days: int = MODEL_DAYS) -> int:
    """Delete the files of versions older than `days` that never served and that nothing waits for.

    The versions and their figures stay. Returns how many lost their files.
    """
    old = ModelVersion.objects.filter(
        artifact_deleted_at=None, created_at__lt=Now() - timedelta(days=days)
    ).exclude(pk__in=registry.promotable_again().values("pk"))
    versions = list(old)
    for version in versions:
        artifact_store.delete(version)
    return len(versions)


def delete_in_batches(rows: QuerySet[Any]) -> Iterator[int]:
    """Delete the rows a batch at a time, each in a transaction of its own, yielding how many went."""
    for keys in keys_in_batches(rows):
        rows.model._default_manager.filter(pk__in=keys).delete()
        yield len(keys)


def keys_in_batches(rows: QuerySet[Any]) -> Iterator[list[int]]:
    """Ids of the rows in pieces that a short transaction can change; rows that stay are looked at once."""
    last = 0
    while keys := list(rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        yield keys
        last = keys[-1]


def prune_files(*, days: int = FILE_DAYS) -> int:
    """Delete uploaded files and lists of rejected lines that are older than `days`; returns how many of this machine's."""
    StoredFileChunk.objects.filter(created_at__lt=Now() - timedelta(days=days)).delete()
    return prune_local_files(days=days)


def prune_local_files(*, days: int = FILE_DAYS) -> int:
    """The same for this machine's copies alone: each machine sees to its own, whoever prunes the database."""
    before = timezone.now().timestamp() - timedelta(days=days).total_seconds()
    entries = [entry for name in FILE_FOLDERS for entry in _entries(Path(settings.VAR_DIR) / name)]
    old = [entry for entry in entries if _changed_at(entry) < before]
    for entry in old:
        shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
    return len(old)


def _changed_at(entry: Path) -> float:
    """Now, where somebody else has removed it meanwhile."""
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return timezone.now().timestamp()


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
