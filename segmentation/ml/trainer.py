"""The training loop of every network: fit -> epoch -> step, stopped where the held-out loss stops falling."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segmentation.ml import losses
from segmentation.ml.config import TrainingConfig
from segmentation.ml.datasets import TensorRows, ordered_batches, shuffled_batches
from segmentation.ml.networks.blocks import HeadLayout
from segmentation.ml.schema import EpochReport, OnEpochEnd
from segmentation.ml.threads import one_thread

EVALUATION_BATCH = 4096
MAX_GRADIENT = 1.0
# The learning rate falls along a cosine to this share: small last steps settle what large ones found.
LAST_RATE = 0.02


@dataclass(frozen=True)
class EpochLoss:
    train: float
    valid: float


@contextmanager
def repeatable(seed: int) -> Iterator[torch.Generator]:
    """A fit's own random numbers on one thread; the process's are left as they were."""
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


class Trainer:
    """Fits one network in place. An exception from `on_epoch_end` ends the fit."""

    def __init__(
        self,
        network: nn.Module,
        layout: HeadLayout,
        config: TrainingConfig,
        *,
        generator: torch.Generator,
        on_epoch_end: OnEpochEnd | None = None,
        name: str = "mlp",
    ) -> None:
        self.network = network
        self.layout = layout
        self.config = config
        self.generator = generator
        self.on_epoch_end = on_epoch_end
        self.name = name
        self.history_: list[EpochLoss] = []
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def fit(self, train: TensorRows, valid: TensorRows) -> None:
        """Ends with the weights of the epoch whose held-out loss was lowest."""
        best, best_state, waited = float("inf"), copy.deepcopy(self.network.state_dict()), 0
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimiser, self.config.epochs, eta_min=self.config.learning_rate * LAST_RATE
        )
        for epoch in range(1, self.config.epochs + 1):
            loss = EpochLoss(train=self._epoch(train), valid=self.evaluate(valid))
            self.history_.append(loss)
            schedule.step()
            improved = loss.valid < best
            if improved:
                best, best_state, waited = loss.valid, copy.deepcopy(self.network.state_dict()), 0
            else:
                waited += 1
            self._report(epoch, loss, improved=improved)
            if waited >= self.config.patience:
                break
        self.network.load_state_dict(best_state)
        self.network.eval()

    def evaluate(self, rows: TensorRows) -> float:
        """Mean loss over rows, without learning."""
        self.network.eval()
        total = 0.0
        with torch.inference_mode():
            for batch in ordered_batches(rows, size=EVALUATION_BATCH):
                total += float(self.loss(batch)) * len(batch)
        return total / max(len(rows), 1)

    def loss(self, batch: TensorRows) -> Tensor:
        """The sum of every head's loss; values weigh `value_weight`, the rest 1."""
        outputs = self.layout.split(self.network(batch.numeric, batch.categorical))
        total = batch.numeric.new_zeros(())
        for target in self.layout.targets:
            output, labels = outputs[target.name], batch.labels[target.name]
            if target.kind == "binary":
                total = total + losses.binary_loss(output, labels)
            elif target.kind == "multiclass":
                total = total + losses.multiclass_loss(output, labels)
            else:
                total = total + self.config.value_weight * losses.ziln_loss(output, labels)
        return total

    def _epoch(self, rows: TensorRows) -> float:
        self.network.train()
        total = 0.0
        for batch in shuffled_batches(rows, size=self.config.batch_size, generator=self.generator):
            total += self._step(batch) * len(batch)
        return total / len(rows)

    def _step(self, batch: TensorRows) -> float:
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        loss.backward()
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
