"""One fit on several devices: this process is rank 0 and starts the others on its machine for as long as it takes.
Where torchrun has started processes already, on one machine or several, they are the others (ml/torchrun.py).

Each rank takes its share of every batch and torch's DistributedDataParallel averages their gradients, so a step is that of
one device with the batches of all. Ranks draw the same order of rows; rank 0 alone looks at the held-out rows, reports
and lays down states. What the ranks tell each other stays on the machine where they all run on one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from segmentation.ml.config import TrainingConfig
from segmentation.ml.datasets import TensorRows
from segmentation.ml.schema import LearningError, Target
from segmentation.ml.threads import one_thread

# How long a rank gets to end by itself once rank 0 is through.
PATIENCE_SECONDS: Final = 30.0
# A rank that has not been heard of for so long is lost.
SILENCE: Final = timedelta(minutes=10)


class RankLost(LearningError):
    """A device or its process gave up; the fit goes on with one."""


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is."""

    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.number == 0

    def wrapped(self, network: nn.Module) -> nn.Module:
        """What training steps go through; its weights are the network's own, and those of rank 0."""
        return network if self.count == 1 else nn.parallel.DistributedDataParallel(network)

    def share(self, batch: TensorRows) -> TensorRows:
        """This rank's rows of a batch."""
        if self.count == 1:
            return batch
        return batch.take(torch.arange(self.number, len(batch), self.count, device=batch.numeric.device))

    def total(self, value: float, *, like: Tensor) -> float:
        """The sum of what all ranks have."""
        if self.count == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=like.device)
        dist.all_reduce(told)
        return float(told)

    def from_first(self, value: float, *, like: Tensor) -> float:
        """What rank 0 has, at every rank."""
        if self.count == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=like.device)
        dist.broadcast(told, src=0)
        return float(told)

    def bytes_from_first(self, content: bytes | None, *, like: Tensor) -> bytes | None:
        if self.count == 1:
            return content
        length = int(self.from_first(float(len(content or b"")), like=like))
        if not length:
            return None
        told = torch.zeros(length, dtype=torch.uint8, device=like.device)
        if content:
            told.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        dist.broadcast(told, src=0)
        return told.cpu().numpy().tobytes()

    def same_order(self, generator: torch.Generator, *, like: Tensor) -> None:
        """Every rank draws rows as rank 0 will, whatever rank 0 has drawn before."""
        if self.count > 1:
            state = self.bytes_from_first(generator.get_state().numpy().tobytes(), like=like)
            generator.set_state(torch.frombuffer(bytearray(state or b""), dtype=torch.uint8))

    def seed(self, base: int, epoch: int) -> None:
        """Dropout differs from rank to rank, and an epoch's is the same whether it was come to at once or resumed."""
        if not self.first:
            torch.manual_seed((base * 1_000_003 + epoch) * 1_009 + self.number)


ALONE: Final = Ranks()


@dataclass(frozen=True)
class Fit:
    """What other ranks must know of a fit. A gradient's graph and a card's memory cannot cross into another process;
    plain tensors can."""

    described: Mapping[str, Any]
    targets: list[Mapping[str, Any]]
    config: Mapping[str, Any]
    rows: TensorRows
    class_weights: dict[str, np.ndarray]


class Launch(Protocol):
    """Processes that somebody else has started, and ends, to be the ranks of every fit of a training."""

    @property
    def count(self) -> int: ...

    def fit(self, told: Fit) -> AbstractContextManager[Ranks]:
        """The others take part for as long as the block runs. Raises RuntimeError when one of them fails."""


_launch: Launch | None = None


@contextmanager
def launched(launch: Launch) -> Iterator[None]:
    """Fits in this block have the ranks of the launch and start none."""
    global _launch
    _launch = launch
    try:
        yield
    finally:
        _launch = None


def wanted(config: TrainingConfig) -> int:
    """How many ranks a fit shall have: those of a launch, as many as were asked for, or every graphics card there is."""
    if _launch is not None:
        return _launch.count if config.device in {"cuda", "cpu"} else 1
    cards = torch.cuda.device_count() if config.device == "cuda" else 0
    if config.ranks:
        return min(config.ranks, cards) if cards else config.ranks if config.device == "cpu" else 1
    return max(cards, 1)


@contextmanager
def others(
    count: int,
    *,
    described: Mapping[str, Any],
    targets: Sequence[Target],
    config: TrainingConfig,
    rows: TensorRows,
    class_weights: Mapping[str, np.ndarray],
) -> Iterator[Ranks]:
    """Ranks 1 to count - 1, who take part beside this one. Raises RankLost when one of them fails."""
    told = Fit(
        described,
        [target.to_json() for target in targets],
        config.to_json(),
        _moved(rows, "cpu"),
        dict(class_weights),
    )
    try:
        with _spawned(count, told) if _launch is None else _launch.fit(told) as ranks:
            yield ranks
    except (torch.OutOfMemoryError, RuntimeError) as error:
        raise RankLost(f"Training on {count} devices stopped: {str(error).splitlines()[0][:200]}") from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def _spawned(count: int, told: Fit) -> Iterator[Ranks]:
    """Processes beside this one, for one fit."""
    context = torch.multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as working:
        meeting = f"file://{Path(working) / 'ranks'}"
        ranks = [
            context.Process(target=_rank, args=(Ranks(number, count), meeting, told), daemon=True)
            for number in range(1, count)
        ]
        for process in ranks:
            process.start()
        try:
            _meet(Ranks(0, count), meeting, told.config["device"])
            yield Ranks(0, count)
            for process in ranks:
                process.join(PATIENCE_SECONDS)
        finally:
            for process in ranks:
                if process.is_alive():
                    process.kill()
                process.join()


def stay_on_this_machine() -> None:
    """Gloo listens on the loopback, unless whoever runs this has named another interface."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def _meet(ranks: Ranks, meeting: str, device: str) -> None:
    stay_on_this_machine()
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(
        backend, init_method=meeting, rank=ranks.number, world_size=ranks.count, timeout=SILENCE
    )


def _rank(ranks: Ranks, meeting: str, told: Fit) -> None:
    if told.config["device"] == "cuda":
        torch.cuda.set_device(ranks.number)
    _meet(ranks, meeting, told.config["device"])
    take_part(ranks, told, card=ranks.number)
    dist.destroy_process_group()


def take_part(ranks: Ranks, told: Fit, *, card: int) -> None:
    """What another rank does: the same fit on its share, without a word to anybody but the ranks.

    card: the number of its graphics card, where the fit is on such.
    """
    from segmentation.ml.networks.blocks import HeadLayout
    from segmentation.ml.networks.build import build
    from segmentation.ml.trainer import Trainer, repeatable

    config = TrainingConfig.from_json(told.config)
    if config.device == "cuda":
        config = replace(config, device=f"cuda:{card}")
        torch.cuda.set_device(card)
    with one_thread(), repeatable(config.seed) as generator:
        network = build(told.described).to(config.device)
        encoder = getattr(network, "encoder", None)
        if encoder is not None and hasattr(encoder, "recompute"):
            encoder.recompute = config.recompute
        layout = HeadLayout(tuple(Target.from_json(item) for item in told.targets))
        trainer = Trainer(
            network, layout, config, generator=generator, class_weights=told.class_weights, ranks=ranks
        )
        trainer.fit(_moved(told.rows, config.device), None)


def _moved(rows: TensorRows, device: str) -> TensorRows:
    return TensorRows(
        rows.numeric.to(device),
        rows.categorical.to(device),
        {name: values.to(device) for name, values in rows.labels.items()},
        tuple(values.to(device) for values in rows.events),
    )
