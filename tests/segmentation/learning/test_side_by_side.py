"""Two fits at a time: told by one thread, stopped together, each learning what it would learn alone."""

from __future__ import annotations

import threading

import pytest

from segmentation import side_by_side
from segmentation.ml.schema import EpochReport

WEIGHTS = {"btyd": 0.25, "lightgbm": 0.25, "mlp": 0.5}


class Learner:
    """Reports `epochs` steps; waits for `until` before its last one."""

    def __init__(self, name, *, epochs=3, until=None, error=None):
        self.name, self.epochs, self.until, self.error = name, epochs, until, error
        self.thread, self.steps = None, 0

    def fit(self, train, valid, *, on_epoch_end):
        self.thread = threading.get_ident()
        for step in range(1, self.epochs + 1):
            if step == self.epochs and self.until is not None:
                assert self.until.wait(10)
            if self.error is not None:
                raise self.error
            on_epoch_end(EpochReport(estimator=self.name, epoch=step, epochs=self.epochs))
            self.steps = step
        return self


def fit(*learners, on_epoch=None):
    side_by_side.fit_all({one.name: one for one in learners}, None, None, weights=WEIGHTS, on_epoch=on_epoch)


def test_the_trees_are_fitted_beside_the_others_and_one_thread_tells(monkeypatch):
    monkeypatch.setattr(side_by_side, "LOOK_SECONDS", 0.01)
    network_done = threading.Event()
    trees, network = Learner("lightgbm", until=network_done), Learner("mlp")
    told = []

    def on_epoch(fraction, epoch):
        told.append((fraction, epoch.estimator if epoch else None, threading.get_ident()))
        if epoch is not None and (epoch.estimator, epoch.epoch) == ("mlp", 3):
            network_done.set()

    fit(Learner("btyd", epochs=1), trees, network, on_epoch=on_epoch)
    assert trees.thread != network.thread == threading.get_ident()
    assert {thread for _f, _n, thread in told} == {threading.get_ident()}
    fractions = [fraction for fraction, _name, _thread in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert [name for _f, name, _t in told].count("lightgbm") == 3


def test_what_the_caller_raises_stops_both():
    def cancelled(fraction, epoch):
        raise KeyboardInterrupt

    stopped = threading.Event()
    trees = Learner("lightgbm", epochs=5, until=stopped)
    threading.Timer(0.3, stopped.set).start()
    with pytest.raises(KeyboardInterrupt):
        fit(trees, Learner("mlp"), on_epoch=cancelled)
    assert trees.steps < trees.epochs


def test_an_error_of_the_trees_reaches_the_caller():
    with pytest.raises(ValueError, match="no rows"):
        fit(Learner("lightgbm", error=ValueError("no rows")), Learner("mlp"))
