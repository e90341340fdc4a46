"""Two processes learn as one with batches of both: same losses, same weights, exact resumption, and one of them writes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segmentation.ml import parallel
from segmentation.ml.config import TrainingConfig
from segmentation.ml.parallel import ALONE, RankLost, Ranks
from tests.segmentation.ml.conftest import created


class Kept:
    """A checkpoint in memory; `until` ends the process after so many epochs."""

    def __init__(self, content: bytes | None = None, until: int = 99) -> None:
        self.content, self.writes, self.until = content, 0, until

    def read(self):
        return self.content

    def write(self, content):
        self.content, self.writes = content, self.writes + 1
        if self.writes == self.until:
            raise KeyboardInterrupt


def estimator(shop, name="mlp", **settings):
    quick = {"epochs": 3, "hidden": (16, 16), "dropout": 0.0, "batch_size": 64, "ensemble": 2, "patience": 9}
    return created(name, shop, **{**quick, **settings})


@pytest.fixture(scope="module")
def rows(shop):
    return shop.train.take(np.arange(500)), shop.valid.take(np.arange(200))


def test_two_processes_lose_what_one_with_twice_the_batch_loses_and_go_on_where_they_stopped(shop, rows):
    one = estimator(shop, batch_size=128).fit(*rows)
    two, kept, told = estimator(shop, ranks=2), Kept(), []
    two.checkpoint = kept
    two.fit(*rows, on_epoch_end=told.append)
    assert [loss.train for loss in two.history_] == pytest.approx(
        [loss.train for loss in one.history_], rel=2e-4
    )
    assert [loss.valid for loss in two.history_] == pytest.approx(
        [loss.valid for loss in one.history_], rel=2e-4
    )
    assert (kept.writes, [report.epoch for report in told]) == (3, [1, 2, 3])
    assert "2 processes" in two.notes_[-1]
    assert "128 rows" in two.notes_[-1]
    assert not torch.distributed.is_initialized()

    broken = estimator(shop, ranks=2)
    broken.checkpoint = held = Kept(until=2)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(*rows)
    resumed = estimator(shop, ranks=2)
    resumed.checkpoint = Kept(held.content)
    resumed.fit(*rows)
    assert resumed.history_ == two.history_
    whole, again = two.network_.state_dict(), resumed.network_.state_dict()
    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_a_process_that_dies_leaves_the_fit_to_the_first_alone(shop, rows, monkeypatch):
    class Lost:
        def __init__(self, *_args, **_settings):
            pass

        def __enter__(self):
            raise RankLost("Training on 2 devices stopped: a card went away.")

        def __exit__(self, *_error):
            return False

    monkeypatch.setattr(parallel, "others", Lost)
    made = estimator(shop, ranks=2).fit(*rows)
    assert "one device instead" in made.notes_[-1]
    assert made.history_ == estimator(shop).fit(*rows).history_


def test_how_many_there_are_follows_the_cards_and_what_was_asked_for(monkeypatch):
    def wanted(**settings):
        return parallel.wanted(TrainingConfig(**settings))

    assert wanted() == 1
    assert wanted(ranks=2) == 2
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert wanted(device="cuda") == 4
    assert wanted(device="cuda", ranks=2) == 2
    assert wanted(device="cuda", ranks=9) == 4
    assert wanted(device="cuda:1") == 1
    assert wanted(device="mps", ranks=2) == 1


def test_alone_nothing_is_shared():
    network = torch.nn.Linear(2, 1)
    assert ALONE.wrapped(network) is network
    assert ALONE.bytes_from_first(b"state", like=torch.zeros(1)) == b"state"
    assert ALONE.first
    assert not Ranks(1, 2).first
