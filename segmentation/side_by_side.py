"""Fit several learners, the boosted trees beside the others: each is pinned to one thread, machines have two or more.

LightGBM and torch both leave the interpreter while they compute, so a thread is enough. What each learns does not
depend on the other, so the result is the same as one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Protocol

from segmentation.ml.schema import EpochReport, Estimator, Frame

BESIDE = "lightgbm"
LOOK_SECONDS = 1.0


class Stopped(Exception):
    """Ends the fit of the other thread; nobody waits for its answer any more."""


class Kept(Protocol):
    """What an attempt leaves for the next one (segmentation/checkpoints.py)."""

    def restore(self, name: str, estimator: Estimator) -> bool: ...

    def keep(self, name: str, estimator: Estimator, seconds: float) -> None: ...

    def seconds(self, name: str) -> float: ...

    def epochs(self, name: str, estimator: Estimator) -> Checkpoint | None: ...


class Checkpoint(Protocol):
    """Where a network's state at the end of an epoch is laid down."""

    def read(self) -> bytes | None: ...

    def write(self, content: bytes) -> None: ...


class OnEpoch(Protocol):
    def __call__(self, fraction: float, epoch: EpochReport | None) -> None: ...


def fit_all(
    estimators: Mapping[str, Estimator],
    train: Frame,
    valid: Frame,
    *,
    weights: Mapping[str, float],
    on_epoch: OnEpoch | None = None,
    kept: Kept | None = None,
) -> dict[str, float]:
    """Fit every estimator in place; returns the seconds each took, by name.

    `on_epoch` runs in the calling thread alone; what it raises stops all fits. kept: where a finished learner, and a
    network at the end of each epoch, is laid down; whatever an earlier attempt has left there is not learned anew.
    The boosted trees are laid down with the others, by the calling thread: a database connection belongs to one.
    """
    desk = _Desk(estimators, weights, on_epoch)
    seconds: dict[str, float] = {}
    restored = {name for name, one in estimators.items() if kept is not None and kept.restore(name, one)}
    for name in restored:
        seconds[name] = kept.seconds(name) if kept is not None else 0.0
        desk.done(name)
    left = {name: estimator for name, estimator in estimators.items() if name not in restored}

    def fit(name: str, report: Callable[[EpochReport], None]) -> Estimator:
        started, estimator = time.perf_counter(), left[name]
        if kept is not None and hasattr(estimator, "checkpoint"):
            estimator.checkpoint = kept.epochs(name, estimator)
        estimator.fit(train, valid, on_epoch_end=lambda epoch: report(replace(epoch, estimator=name)))
        seconds[name] = time.perf_counter() - started
        return estimator

    with ThreadPoolExecutor(max_workers=1) as pool:
        beside = pool.submit(fit, BESIDE, desk.from_beside) if BESIDE in left else None
        try:
            for name in left:
                if name != BESIDE:
                    fit(name, desk.here)
                    desk.done(name)
                    if kept is not None:
                        kept.keep(name, left[name], seconds[name])
            if beside is not None:
                desk.wait_for(beside)
                if kept is not None:
                    kept.keep(BESIDE, left[BESIDE], seconds[BESIDE])
        finally:
            desk.stopped = True
    return seconds


class _Desk:
    """Where reports of both threads meet; only the calling thread hands them on."""

    def __init__(
        self, estimators: Mapping[str, Estimator], weights: Mapping[str, float], on_epoch: OnEpoch | None
    ) -> None:
        total = sum(weights[name] for name in estimators)
        self.shares = {name: weights[name] / total for name in estimators}
        self.fractions = dict.fromkeys(estimators, 0.0)
        self.on_epoch = on_epoch
        self.stopped = False
        self.waiting: SimpleQueue[EpochReport] = SimpleQueue()

    def here(self, epoch: EpochReport) -> None:
        self.hand_on()
        self._report(epoch)

    def from_beside(self, epoch: EpochReport) -> None:
        if self.stopped:
            raise Stopped
        self.waiting.put(epoch)

    def done(self, name: str) -> None:
        self.fractions[name] = 1.0

    def hand_on(self) -> None:
        while True:
            try:
                self._report(self.waiting.get_nowait())
            except Empty:
                return

    def wait_for(self, beside: Future[Estimator]) -> None:
        while True:
            try:
                beside.result(timeout=LOOK_SECONDS)
                break
            except NotYet:
                self.hand_on()
                self._tell(None)
        self.hand_on()
        self.done(BESIDE)

    def _report(self, epoch: EpochReport) -> None:
        name = epoch.estimator
        self.fractions[name] = max(self.fractions[name], min(epoch.epoch / max(epoch.epochs, 1), 1.0))
        self._tell(epoch)

    def _tell(self, epoch: EpochReport | None) -> None:
        if self.on_epoch is not None:
            self.on_epoch(sum(self.shares[name] * done for name, done in self.fractions.items()), epoch)
