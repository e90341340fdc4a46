"""States of a training as rows: what is finished need not be learned again, and a network goes on at its last epoch.

A row is written under the run's lease and is good only for the same rows, settings and seed. All of a run's go when it
is over, however it ended.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import structlog
import torch
from django.db import transaction

from segmentation import leases
from segmentation.ml import artifacts
from segmentation.ml.schema import Estimator, LearningError
from segmentation.ml.states import pack, unpack
from segmentation.models import TrainingCheckpoint, TrainingRun

log = structlog.get_logger(__name__)
# Sooner learned again than written and read.
WORTH_SECONDS = 2.0
# A kill costs at most the epochs of the last seconds.
EVERY_SECONDS = 1.0
MOST_BYTES = 256 << 20


class Checkpoints:
    """Of one family of targets in one run; see side_by_side.Kept."""

    def __init__(self, run: TrainingRun, data: str) -> None:
        self.run = run
        self.data = data

    def restore(self, name: str, estimator: Estimator) -> bool:
        """Make `estimator` what an earlier attempt has fitted; False where there is nothing of the kind."""
        row = self.row(f"{name}.done", estimator)
        if row is None:
            return False
        try:
            with tempfile.TemporaryDirectory() as working:
                _unpack_files(bytes(row.content), Path(working))
                fitted = artifacts.load(Path(working))
        except LearningError as error:
            log.warning("training.checkpoint_unreadable", run=self.run.pk, learner=name, error=str(error))
            return False
        vars(estimator).update(vars(fitted))
        return True

    def keep(self, name: str, estimator: Estimator, seconds: float) -> None:
        TrainingCheckpoint.objects.filter(run=self.run, key=self.key(f"{name}.epoch")).delete()
        if seconds < WORTH_SECONDS:
            return
        with tempfile.TemporaryDirectory() as working:
            place = Path(working) / "artifact"
            artifacts.save(estimator, place)
            content = _pack_files(place)
        self.write(f"{name}.done", estimator, content, seconds)

    def seconds(self, name: str) -> float:
        row = TrainingCheckpoint.objects.filter(run=self.run, key=self.key(f"{name}.done")).first()
        return row.seconds if row else 0.0

    def epochs(self, name: str, estimator: Estimator) -> EpochState:
        return EpochState(self, name, estimator)

    def key(self, name: str) -> str:
        return f"{self.data[:16]}/{name}"

    def row(self, name: str, estimator: Estimator) -> TrainingCheckpoint | None:
        rows = TrainingCheckpoint.objects.filter(run=self.run, key=self.key(name))
        return rows.filter(fingerprint=self._fingerprint(estimator)).first()

    def write(self, name: str, estimator: Estimator, content: bytes, seconds: float) -> None:
        """Raises LeaseLost when another attempt holds the run by now: its states are the ones that count."""
        if len(content) > MOST_BYTES:
            return
        values = {"fingerprint": self._fingerprint(estimator), "content": content, "seconds": seconds}
        with transaction.atomic():
            leases.guard(self.run)
            TrainingCheckpoint.objects.update_or_create(run=self.run, key=self.key(name), defaults=values)

    def _fingerprint(self, estimator: Any) -> str:
        about: Mapping[str, Any] = {
            "data": self.data,
            "config": estimator.config.to_json(),
            "targets": [target.to_json() for target in estimator.targets],
            "columns": [column.to_json() for column in estimator.columns],
        }
        return hashlib.sha256(orjson.dumps(about, option=orjson.OPT_SORT_KEYS)).hexdigest()


class EpochState:
    """The state of one network; see ml.trainer.Checkpoint."""

    def __init__(self, kept: Checkpoints, name: str, estimator: Estimator) -> None:
        self.kept = kept
        self.name = f"{name}.epoch"
        self.estimator = estimator
        self._written = 0.0
        self._started = time.monotonic()

    def read(self) -> bytes | None:
        row = self.kept.row(self.name, self.estimator)
        return None if row is None else bytes(row.content)

    def write(self, content: bytes) -> None:
        now = time.monotonic()
        if now - self._written < EVERY_SECONDS:
            return
        self._written = now
        self.kept.write(self.name, self.estimator, content, now - self._started)


def of(run: TrainingRun, data: str) -> Checkpoints:
    """data: hash of what is learned from."""
    return Checkpoints(run, data)


def _pack_files(place: Path) -> bytes:
    files = [path for path in sorted(place.rglob("*")) if path.is_file()]
    names = [path.relative_to(place).as_posix() for path in files]
    tensors = {
        str(number): torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        for number, path in enumerate(files)
    }
    return pack(tensors, {"files": names})


def _unpack_files(content: bytes, place: Path) -> None:
    tensors, about = unpack(content)
    for number, name in enumerate(about["files"]):
        path = place / name
        if not path.resolve().is_relative_to(place.resolve()):
            raise LearningError("A state of an interrupted training names a file outside its folder.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tensors[str(number)].numpy().tobytes())
