"""How far a training is, written often enough to watch and seldom enough not to be felt."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from segmentation import training_runs
from segmentation.ml.schema import EpochReport
from segmentation.models import TrainingRun

WRITE_SECONDS = 1.0
MAX_EPOCHS_KEPT = 600

Watcher = Callable[[float, str], None]


class RunProgress:
    """Call it between and during the steps of a run; it raises leases.Cancelled or leases.LeaseLost.

    A `part` maps its own 0..1 to a share of the whole. `watch` sees every report (a terminal's bar).
    """

    def __init__(self, run: TrainingRun, *, watch: Watcher | None = None) -> None:
        self.run = run
        self.watch = watch
        self.epochs: list[dict[str, Any]] = []
        self._written = 0.0

    def report(self, fraction: float, note: str, epoch: EpochReport | None = None) -> None:
        if self.watch is not None:
            self.watch(fraction, note)
        if epoch is not None:
            self.epochs = [*self.epochs[-MAX_EPOCHS_KEPT + 1 :], _entry(epoch)]
        now = time.monotonic()
        if epoch is not None and now - self._written < WRITE_SECONDS:
            return
        self._written = now
        training_runs.report_progress(self.run, progress=fraction, note=note, epochs=self.epochs or None)

    def part(self, start: float, end: float) -> Callable[[float, str, EpochReport | None], None]:
        def report(fraction: float, note: str, epoch: EpochReport | None = None) -> None:
            self.report(start + (end - start) * fraction, note, epoch)

        return report


def _entry(epoch: EpochReport) -> dict[str, Any]:
    return {
        "estimator": epoch.estimator,
        "epoch": epoch.epoch,
        "epochs": epoch.epochs,
        "train_loss": _finite(epoch.train_loss),
        "valid_loss": _finite(epoch.valid_loss),
        "best": epoch.best,
    }


def _finite(value: float) -> float | None:
    """JSON knows no NaN."""
    return value if math.isfinite(value) else None
