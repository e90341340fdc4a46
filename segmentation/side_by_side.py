"""Fit several learners, the boosted trees beside the others: each is pinned to one thread, machines have two or more.

LightGBM and torch both leave the interpreter while they compute, so a thread is enough. What each learns does not
depend on the other, so the result is the same as one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from queue import Empty, SimpleQueue
from typing import Protocol

from segmentation.ml.schema import EpochReport, Estimator, Frame

BESIDE = "lightgbm"
LOOK_SECONDS = 1.0


class Stopped(Exception):
    """Ends the fit of the other thread; nobody waits for its answer any more."""


class OnEpoch(Protocol):
    def __call__(self, fraction: float, epoch: EpochReport | None) -> None: ...


def fit_all(
    estimators: Mapping[str, Estimator],
    train: Frame,
    valid: Frame,
    *,
    weights: Mapping[str, float],
    on_epoch: OnEpoch | None = None,
) -> None:
    """Fit every estimator in place. `on_epoch` runs in the calling thread alone; what it raises stops all fits."""
    desk = _Desk(estimators, weights, on_epoch)
    with ThreadPoolExecutor(max_workers=1) as pool:
        beside = None
        if BESIDE in estimators:
            fit = estimators[BESIDE].fit
            beside = pool.submit(fit, train, valid, on_epoch_end=desk.from_beside)
        try:
            for name, estimator in estimators.items():
                if name != BESIDE:
                    estimator.fit(train, valid, on_epoch_end=desk.here)
                    desk.done(name)
            if beside is not None:
                desk.wait_for(beside)
        finally:
            desk.stopped = True


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
