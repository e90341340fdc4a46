"""Differentially private training of a network over columns (DP-SGD; Abadi et al. 2016, arXiv 1607.00133).

The unit is a customer, not a row: each step draws customers independently (Poisson sampling), adds up the gradients of all
days of a drawn customer, cuts that to a fixed length, and adds Gaussian noise to the sum. ε is worked out by Rényi
accounting (opacus) over the steps that were done. Draws and noise begin with the system's random numbers, never with the
stored seed: whoever knew it could take the noise away again.

ε speaks of the weights alone. The scales of the columns, the list of categories, the calibrator and the rule for classes
are shop-wide numbers made without noise.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from segmentation.ml import losses
from segmentation.ml.config import TrainingConfig
from segmentation.ml.datasets import TensorRows
from segmentation.ml.schema import LearningError
from segmentation.ml.trainer import EpochLoss, Trainer

# Rows whose gradients are held at once: this times the number of weights is the memory it takes.
ROWS_AT_ONCE: Final = 64
# Orders at which the Rényi divergence is bounded; a wide range, so that the best one is no border.
ORDERS: Final = (
    [1 + x / 10 for x in range(1, 100)] + [float(x) for x in range(12, 64)] + [128.0, 256.0, 512.0]
)


@dataclass(frozen=True)
class Plan:
    """What a private fit will do. rate: chance of a customer to be drawn in a step. noise: its spread beside `clip`."""

    customers: int
    rate: float
    steps_an_epoch: int
    noise: float
    clip: float
    delta: float

    def epsilon(self, epochs: int) -> float:
        """ε after so many epochs, at `delta`."""
        if not epochs:
            return 0.0
        from opacus.accountants.analysis import rdp

        spent = rdp.compute_rdp(
            q=self.rate, noise_multiplier=self.noise, steps=epochs * self.steps_an_epoch, orders=ORDERS
        )
        return float(rdp.get_privacy_spent(orders=ORDERS, rdp=spent, delta=self.delta)[0])

    def to_json(self) -> dict[str, float]:
        return dict(vars(self))


def plan(config: TrainingConfig, customers: int, rows: int) -> Plan:
    """The least noise that keeps the whole fit within config.privacy_epsilon. Raises LearningError."""
    if customers < 2:
        raise LearningError("Privacy noise hides one customer among others; there are fewer than two.")
    rate = min(1.0, config.batch_size / max(rows, 1))
    # One customer in ten times as many as there are: the usual bound on what ε does not cover.
    made = Plan(customers, rate, math.ceil(1 / rate), 0.0, config.privacy_clip, 1 / (10 * customers))
    return Plan(**{**vars(made), "noise": _least_noise(made, config.privacy_epsilon, config.epochs)})


def _least_noise(asked: Plan, epsilon: float, epochs: int) -> float:
    """By halving: ε falls as the noise grows."""
    low, high = 0.2, 0.4

    def spent(noise: float) -> float:
        return Plan(**{**vars(asked), "noise": noise}).epsilon(epochs)

    while spent(high) > epsilon:
        low, high = high, high * 2
        if high > 1e4:
            raise LearningError(
                f"ε = {epsilon:g} cannot be kept with {asked.customers} customers. Allow a larger ε or fewer epochs."
            )
    while high - low > 1e-3 * low:
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > epsilon else (low, middle)
    return high


class PrivateTrainer(Trainer):
    """A fit under a Plan. `customers`: (n,) the customer of each training row. All epochs are done and the last weights
    stay: to stop where held-out customers are answered best would be a look that is not accounted for."""

    def __init__(
        self,
        network: nn.Module,
        *args: Any,
        customers: np.ndarray,
        random: torch.Generator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, *args, **kwargs)
        known, codes = np.unique(customers, return_inverse=True)
        self.codes = torch.tensor(codes, dtype=torch.int64)
        self.rows_of = torch.bincount(self.codes, minlength=len(known)).float()
        self.plan = plan(self.config, len(known), len(codes))
        # What a customer's rows are drawn and hidden with; not from the seed, which is stored beside the weights.
        self.random = random or torch.Generator().manual_seed(secrets.randbits(63))
        # Taken by name: the order is that of the flattened gradients.
        self.named = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]

    @property
    def epsilon(self) -> float:
        return self.plan.epsilon(self.progress.epoch)

    def _remember(self, epoch: int, loss: EpochLoss) -> bool:
        # Whatever the held-out customers say, the newest weights are the ones that stay.
        self.progress.best = float("inf")
        return super()._remember(epoch, loss)

    def _epoch_that_fits(self, rows: TensorRows) -> float:
        # An epoch begun anew would be steps that are not accounted for, and batches are not what takes the memory.
        return self._epoch(rows)

    def _epoch(self, rows: TensorRows) -> float:
        self.network.train()
        for _step in range(self.plan.steps_an_epoch):
            drawn = torch.rand(self.plan.customers, generator=self.random) < self.plan.rate
            self._private_step(rows, drawn)
        # The loss on the training rows would be one more answer about their customers; it is not asked.
        return 0.0

    def _private_step(self, rows: TensorRows, drawn: Tensor) -> None:
        total = self.clipped_sum(rows, drawn)
        noise = torch.normal(0.0, self.plan.noise * self.plan.clip, total.shape, generator=self.random)
        mean = (total + noise) / max(self.plan.rate * self.plan.customers, 1.0)
        parts = mean.split([weight.numel() for _name, weight in self.named])
        for (_name, weight), part in zip(self.named, parts, strict=True):
            weight.grad = part.view_as(weight).to(weight.device)
        self.optimiser.step()

    def clipped_sum(self, rows: TensorRows, drawn: Tensor) -> Tensor:
        """(P,) the gradients of the drawn customers, each cut to the length `clip`, added up."""
        total = torch.zeros(sum(weight.numel() for _name, weight in self.named))
        wanted = torch.nonzero(drawn[self.codes]).squeeze(1)
        # All rows of a customer in one piece, so that what is cut is the customer's gradient.
        wanted = wanted[torch.argsort(self.codes[wanted], stable=True)]
        for piece in _pieces(self.codes[wanted], ROWS_AT_ONCE):
            index = wanted[piece]
            gradients = self._gradients(rows.take(index.to(rows.numeric.device))).cpu()
            known, places = torch.unique(self.codes[index], return_inverse=True)
            summed = torch.zeros(len(known), gradients.shape[1]).index_add_(0, places, gradients)
            summed /= self.rows_of[known].unsqueeze(1)
            lengths = summed.norm(dim=1, keepdim=True)
            total += (summed * (self.plan.clip / lengths.clamp(min=self.plan.clip))).sum(dim=0)
        return total

    def _gradients(self, rows: TensorRows) -> Tensor:
        """(rows, P): the gradient of each row's own loss."""
        weights = {name: weight.detach() for name, weight in self.named}
        labels = {target.name: rows.labels[target.name] for target in self.layout.targets}

        def loss(
            given: dict[str, Tensor], numeric: Tensor, codes: Tensor, truth: dict[str, Tensor]
        ) -> Tensor:
            raw = functional_call(self.network, given, (numeric.unsqueeze(0), codes.unsqueeze(0)))
            outputs = self.layout.split(raw.float())
            parts = [
                losses.row_loss(t, outputs[t.name][0], truth[t.name])
                * (self.config.value_weight if t.kind == "value" else 1.0)
                for t in self.layout.targets
            ]
            return torch.stack(parts).sum()

        each = vmap(grad(loss), in_dims=(None, 0, 0, 0), randomness="different")
        # Fused attention has no rule for single rows.
        with sdpa_kernel(SDPBackend.MATH):
            found = each(weights, rows.numeric, rows.categorical, labels)
        return torch.cat([found[name].flatten(1) for name, _weight in self.named], dim=1)


def _pieces(customers: Tensor, size: int) -> Sequence[Tensor]:
    """Positions of rows sorted by customer, cut between customers into pieces of about `size` rows."""
    if not len(customers):
        return []
    starts = torch.cat([torch.tensor([True]), customers[1:] != customers[:-1]]).cumsum(0)
    first = torch.nonzero(torch.cat([torch.tensor([True]), customers[1:] != customers[:-1]])).squeeze(1)
    number = first[starts - 1] // size
    return [torch.nonzero(number == n).squeeze(1) for n in torch.unique(number)]
