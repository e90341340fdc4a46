"""A training that torchrun has started as several processes, on one machine or several: they are the ranks of its fits.

Rank 0 is the training. The others wait at the launch's store for its next fit, however long that takes, and end with it:
between fits nothing connects them but the store, and each fit has a process group of its own. A rank that fails leaves the
rest of the training to rank 0 alone; on graphics cards, where the others would wait for it in NCCL, it ends the launch.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread
from typing import Final, Self

import torch.distributed as dist

from segmentation.ml import parallel
from segmentation.ml.parallel import PATIENCE_SECONDS, SILENCE, Fit, Ranks
from segmentation.ml.schema import LearningError

log = logging.getLogger(__name__)
POLL_SECONDS: Final = 0.2
# What rank 0 says at the store, beside the device of its next fit.
NO_MORE: Final = "no more fits"
LOST: Final = "lost"


@dataclass(frozen=True)
class Place:
    """Which of the launched processes this is. local: its number on its machine, and of its graphics card."""

    ranks: Ranks
    local: int
    one_machine: bool

    @classmethod
    def here(cls) -> Self:
        """As torchrun's environment says."""
        number, count, local, beside = (
            int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        )
        return cls(Ranks(number, count), local, one_machine=beside == count)

    def meet(self, store: dist.Store, fit: int, device: str) -> None:
        """The process group of one fit. What is told goes through the processor, gradients from card to card."""
        if self.one_machine:
            parallel.stay_on_this_machine()
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo",
            store=dist.PrefixStore(f"group/{fit}", store),
            rank=self.ranks.number,
            world_size=self.ranks.count,
            timeout=SILENCE,
        )


@contextmanager
def led() -> Iterator[None]:
    """Rank 0's training: networks are learned by all launched processes, which may go when the block ends.

    Without torchrun nothing is different.
    """
    if not dist.is_torchelastic_launched():
        yield
        return
    launch = Led(Place.here(), _store())
    try:
        with parallel.launched(launch):
            yield
    finally:
        launch.end()


def follow() -> None:
    """Any other rank: takes part in each fit, until rank 0 has no more of them or goes on alone."""
    place, store = Place.here(), _store()
    Thread(target=_leave_when_lost, args=(_store(),), daemon=True).start()
    for fit in itertools.count():
        device = _said(store, f"fit/{fit}")
        if device == NO_MORE:
            return
        try:
            _take_part(place, store, fit, device)
        except LearningError:
            # All ranks come to it, and rank 0 says it.
            continue
        except RuntimeError as error:
            if device.startswith("cuda"):
                raise
            log.warning("Rank %d takes part in no further fit: %s", place.ranks.number, error)
            return
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


class Led:
    """The launch as rank 0 has it (parallel.Launch). Once a rank is lost, rank 0 is alone."""

    def __init__(self, place: Place, store: dist.Store) -> None:
        self.place = place
        self.store = store
        self.count = place.ranks.count
        self.fits = 0

    @contextmanager
    def fit(self, told: Fit) -> Iterator[Ranks]:
        fit, device = self.fits, str(told.config["device"])
        self.fits += 1
        try:
            self.store.set(f"fit/{fit}", device)
            self.place.meet(self.store, fit, device)
            dist.broadcast_object_list([told], src=0)
            yield self.place.ranks
        except RuntimeError:
            self.count = 1
            self.store.set(LOST, "")
            raise
        # A group that is left too soon would take the last word from those who have yet to hear it.
        with suppress(dist.DistStoreError):
            through = [_through(fit, number) for number in range(1, self.count)]
            self.store.wait(through, timedelta(seconds=PATIENCE_SECONDS))

    def end(self) -> None:
        # Without a store there is nobody to tell: the others end by themselves.
        with suppress(RuntimeError):
            self.store.set(f"fit/{self.fits}", NO_MORE)


def _take_part(place: Place, store: dist.Store, fit: int, device: str) -> None:
    place.meet(store, fit, device)
    told: list[Fit | None] = [None]
    # Rank 0 is this launch's own process of the same person: what it sends may be unpickled.
    dist.broadcast_object_list(told, src=0)
    if told[0] is not None:
        parallel.take_part(place.ranks, told[0], card=place.local)
    store.set(_through(fit, place.ranks.number), "")


def _through(fit: int, number: int) -> str:
    return f"through/{fit}/{number}"


def _store() -> dist.Store:
    """A connection to the launch's own store; torchrun's agent keeps it, and a restarted launch has another."""
    store, _number, _count = next(dist.rendezvous("env://", timeout=SILENCE))
    return store


def _said(store: dist.Store, key: str) -> str:
    """What rank 0 says under a key, when it comes to it. Raises RuntimeError when the launch's store is gone."""
    while not store.check([key]):
        time.sleep(POLL_SECONDS)
    return store.get(key).decode()


def _leave_when_lost(store: dist.Store) -> None:
    """Ends this process, wherever it is held, as one that has done its part: torchrun lets rank 0 go on."""
    with suppress(RuntimeError):
        _said(store, LOST)
        os._exit(0)
