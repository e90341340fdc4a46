"""The training loop of every network: fit -> epoch -> step, stopped where the held-out loss stops falling.

At the end of each epoch everything the next one depends on (weights, optimiser, random numbers) is handed to
`checkpoint`; a fit that finds a state there goes on from it and ends with the same weights as one that was never stopped.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from segmentation.ml import losses
from segmentation.ml.config import TrainingConfig
from segmentation.ml.datasets import TensorRows, ordered_batches, shuffled_batches
from segmentation.ml.networks.blocks import HeadLayout
from segmentation.ml.parallel import ALONE, Ranks
from segmentation.ml.schema import EpochReport, LearningError, OnEpochEnd
from segmentation.ml.states import pack, unpack
from segmentation.ml.threads import one_thread

EVALUATION_BATCH = 4096
SMALLEST_BATCH = 16
MAX_GRADIENT = 1.0
# The learning rate falls along a cosine to this share: small last steps settle what large ones found.
LAST_RATE = 0.02
# Plain gradient steps need a longer stride than Adam's, whose steps are of one size by themselves.
SGD_STRIDE = 10.0
MOMENTUM = 0.9


class Checkpoint(Protocol):
    """Where the state at the end of an epoch is laid down, and found by a later attempt."""

    def read(self) -> bytes | None: ...

    def write(self, content: bytes) -> None: ...


@dataclass(frozen=True)
class EpochLoss:
    train: float
    valid: float


@dataclass
class Progress:
    """How far a fit is: finished epochs, the best weights so far, epochs since then, batch size in use."""

    epoch: int = 0
    best: float = float("inf")
    best_state: dict[str, Tensor] = field(default_factory=dict)
    waited: int = 0
    batch_size: int = 0
    history: list[EpochLoss] = field(default_factory=list)


@contextmanager
def repeatable(seed: int) -> Iterator[torch.Generator]:
    """A fit's own random numbers on one thread; the process's are left as they were."""
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


class Trainer:
    """One fit of one network. `history_` grows by one entry an epoch; `notes_` says what went otherwise than asked."""

    def __init__(
        self,
        network: nn.Module,
        layout: HeadLayout,
        config: TrainingConfig,
        *,
        generator: torch.Generator,
        on_epoch_end: OnEpochEnd | None = None,
        name: str = "mlp",
        checkpoint: Checkpoint | None = None,
        class_weights: Mapping[str, np.ndarray] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.network = network
        self.layout = layout
        self.config = config
        self.generator = generator
        self.on_epoch_end = on_epoch_end
        self.name = name
        self.checkpoint = checkpoint
        self.class_weights = {
            key: torch.tensor(value, dtype=torch.float32, device=config.device)
            for key, value in (class_weights or {}).items()
        }
        self.ranks = ranks
        # Steps go through it, so that gradients of all ranks meet; its weights are the network's.
        self.stepped: nn.Module = network
        self.notes_: list[str] = []
        self.optimiser = optimiser(network, config)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimiser, config.epochs, eta_min=self.optimiser.param_groups[0]["lr"] * LAST_RATE
        )
        self.progress = Progress(batch_size=config.batch_size)

    @property
    def history_(self) -> list[EpochLoss]:
        return self.progress.history

    def fit(self, train: TensorRows, valid: TensorRows | None) -> None:
        """Ends with the weights of the epoch whose held-out loss was lowest. valid: None at any rank but the first."""
        self.progress.best_state = copy.deepcopy(self.network.state_dict())
        self._resume(train.numeric)
        self.ranks.same_order(self.generator, like=train.numeric)
        self.stepped = self.ranks.wrapped(self.network)
        for epoch in range(self.progress.epoch + 1, self.config.epochs + 1):
            if self.progress.waited >= self.config.patience:
                break
            self.ranks.seed(self.config.seed, epoch)
            learned = self._epoch_that_fits(train)
            held_out = self.ranks.from_first(
                0.0 if valid is None else self.evaluate(valid), like=train.numeric
            )
            loss = EpochLoss(train=learned, valid=held_out)
            if not np.isfinite(loss.train):
                raise LearningError(
                    f"The network {self.name} came to no finite numbers in epoch {epoch}. Lower learning_rate, which "
                    f"is {self.config.learning_rate:g}, or take another optimiser."
                )
            self.schedule.step()
            improved = self._remember(epoch, loss)
            if self.checkpoint is not None and self.ranks.first:
                self.checkpoint.write(self.state())
            self._report(epoch, loss, improved=improved)
        self.network.load_state_dict(self.progress.best_state)
        self.network.eval()

    def evaluate(self, rows: TensorRows) -> float:
        """Mean loss over rows, without learning."""
        self.network.eval()
        total = 0.0
        with torch.inference_mode():
            for batch in ordered_batches(rows, size=EVALUATION_BATCH):
                total += float(self.loss(batch)) * len(batch)
        return total / max(len(rows), 1)

    def loss(self, batch: TensorRows, *, through: nn.Module | None = None) -> Tensor:
        """The sum of every head's loss; values weigh `value_weight`, the rest 1."""
        with torch.autocast(
            batch.numeric.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"
        ):
            raw = (through or self.network)(batch.numeric, batch.categorical, *batch.events)
        outputs = self.layout.split(raw.float())
        total = batch.numeric.new_zeros(())
        for target in self.layout.targets:
            output, labels = outputs[target.name], batch.labels[target.name]
            if target.kind == "value":
                total = total + self.config.value_weight * losses.ziln_loss(output, labels)
                continue
            loss = losses.binary_loss if target.kind == "binary" else losses.multiclass_loss
            total = total + loss(
                output, labels, kind=self.config.loss, weights=self.class_weights.get(target.name)
            )
        return total

    def state(self) -> bytes:
        """Everything that the next epoch depends on."""
        progress = self.progress
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in progress.best_state.items()}
        tensors |= {"random.order": self.generator.get_state(), "random.torch": torch.get_rng_state()}
        if torch.cuda.is_available() and self.config.device.startswith("cuda"):
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.config.device)
        optimised = self.optimiser.state_dict()
        for number, parts in optimised["state"].items():
            tensors |= {f"optimiser.{number}.{name}": v for name, v in parts.items() if torch.is_tensor(v)}
        about = {
            "epoch": progress.epoch,
            # JSON knows no infinity, which is how good the best is before the first epoch.
            "best": progress.best if np.isfinite(progress.best) else None,
            "waited": progress.waited,
            "batch_size": progress.batch_size,
            "history": [[loss.train, loss.valid] for loss in progress.history],
            "rates": [group["lr"] for group in self.optimiser.param_groups],
            "schedule": self.schedule.state_dict(),
            "notes": self.notes_,
        }
        return pack(tensors, about)

    def _resume(self, like: Tensor | None = None) -> None:
        content = self.checkpoint.read() if self.checkpoint is not None else None
        if like is not None:
            content = self.ranks.bytes_from_first(content, like=like)
        if content is None:
            return
        tensors, about = unpack(content, device=self.config.device)
        self.network.load_state_dict(_under("network.", tensors))
        self._resume_optimiser(_under("optimiser.", tensors), about)
        self.generator.set_state(tensors["random.order"].cpu())
        torch.set_rng_state(tensors["random.torch"].cpu())
        # A fit that has lost its card goes on without.
        if "random.cuda" in tensors and self.config.device.startswith("cuda"):
            torch.cuda.set_rng_state(tensors["random.cuda"].cpu(), self.config.device)
        self.notes_ = list(about["notes"])
        self.progress = Progress(
            epoch=about["epoch"],
            best=float("inf") if about["best"] is None else about["best"],
            best_state=_under("best.", tensors),
            waited=about["waited"],
            batch_size=about["batch_size"],
            history=[EpochLoss(*pair) for pair in about["history"]],
        )

    def _resume_optimiser(self, tensors: dict[str, Tensor], about: Mapping[str, Any]) -> None:
        whole = self.optimiser.state_dict()
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            number, part = name.split(".", 1)
            state.setdefault(int(number), {})[part] = value
        whole["state"] = state
        for group, rate in zip(whole["param_groups"], about["rates"], strict=True):
            group["lr"] = rate
        self.optimiser.load_state_dict(whole)
        self.schedule.load_state_dict(about["schedule"])

    def _remember(self, epoch: int, loss: EpochLoss) -> bool:
        progress = self.progress
        progress.epoch = epoch
        progress.history.append(loss)
        improved = loss.valid < progress.best
        if improved:
            progress.best, progress.waited = loss.valid, 0
            progress.best_state = copy.deepcopy(self.network.state_dict())
        else:
            progress.waited += 1
        return improved

    def _epoch_that_fits(self, rows: TensorRows) -> float:
        """One epoch; where memory runs out it starts again, as if nothing had been, with half the batch."""
        before = self.state() if _may_run_out(self.config.device) else b""
        while True:
            try:
                return self._epoch(rows)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                size = self.progress.batch_size // 2
                # The other ranks wait for this one: going back is for all of them or none (ml/parallel.py).
                if self.ranks.count > 1 or not _is_memory(error) or size < SMALLEST_BATCH:
                    raise
            torch.cuda.empty_cache()
            if before:
                self._go_back(before)
            self.progress.batch_size = size
            self.notes_.append(f"Memory ran out, so batches hold {size} rows instead of {2 * size}.")

    def _go_back(self, content: bytes) -> None:
        history, notes = self.progress.history, self.notes_
        held = self.checkpoint
        self.checkpoint = Held(content)
        self._resume()
        self.checkpoint, self.progress.history, self.notes_ = held, history, notes

    def _epoch(self, rows: TensorRows) -> float:
        self.stepped.train()
        total, seen, count = 0.0, 0, self.ranks.count
        size = self.progress.batch_size * count
        for batch in shuffled_batches(rows, size=size, generator=self.generator):
            if len(batch) < count:
                # Fewer rows than ranks are left: some would have none.
                continue
            part = self.ranks.share(batch)
            # Shares of a last batch may differ by a row, and ranks are averaged as if they were equal.
            total += self._step(part, weight=len(part) * count / len(batch)) * len(part)
            seen += len(batch)
        return self.ranks.total(total, like=rows.numeric) / max(seen, 1)

    def _step(self, batch: TensorRows, *, weight: float = 1.0) -> float:
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(batch, through=self.stepped)
        extra = getattr(self.network, "auxiliary_loss", None)
        whole = loss if extra is None else loss + extra()
        (whole if weight == 1.0 else whole * weight).backward()
        # A single huge order may not throw the shared layers off.
        nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT)
        self.optimiser.step()
        return float(loss.detach())

    def _report(self, epoch: int, loss: EpochLoss, *, improved: bool) -> None:
        if self.on_epoch_end is not None:
            report = EpochReport(
                estimator=self.name,
                epoch=epoch,
                epochs=self.config.epochs,
                train_loss=loss.train,
                valid_loss=loss.valid,
                best=improved,
            )
            self.on_epoch_end(report)


def optimiser(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW, plain gradient steps with Nesterov's momentum, or RMSprop, at the configured rate and decay."""
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            network.parameters(), lr=rate * SGD_STRIDE, momentum=MOMENTUM, nesterov=True, weight_decay=decay
        )
    if config.optimiser == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), lr=rate / SGD_STRIDE, weight_decay=decay)
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)


class Held:
    """A state to start from; what follows is not kept."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self) -> bytes:
        return self.content

    def write(self, content: bytes) -> None:
        pass


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _may_run_out(device: str) -> bool:
    """On a CPU the system ends a process that asks for too much; it seldom says so first."""
    return device.startswith("cuda")


def _is_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate" in text
