"""Uplift by a network with a head for each arm over one trunk: what both arms have in common is learned from both.

As TARNet (Shalit, Johansson and Sontag, ICML 2017, arXiv 1606.03976) without its balancing term, which a random draw
makes needless. Each row teaches the head of its own arm; rows weigh one over the chance of their arm.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from segmentation.ml import storage
from segmentation.ml.batching import in_fixed_batches
from segmentation.ml.classical import describe, one_hot, read_description
from segmentation.ml.config import TrainingConfig
from segmentation.ml.effects.rows import Assigned
from segmentation.ml.preprocessing import Preprocessor
from segmentation.ml.schema import (
    Column,
    EpochReport,
    Frame,
    LearningError,
    OnEpochEnd,
    Prediction,
    Target,
    TargetPrediction,
)
from segmentation.ml.threads import one_thread

TRUNK, HEAD = 64, 32
EPOCHS, PATIENCE, BATCH, RATE, DECAY = 40, 5, 256, 2e-3, 1e-2
STEPS = 16


class TwoHeads(nn.Module):
    """(b, p) -> (b, 2) log-odds of an order: without the offer, with it."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(width, TRUNK), nn.ReLU(), nn.Dropout(dropout))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(TRUNK, HEAD), nn.ReLU(), nn.Linear(HEAD, 1)) for _ in range(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shared = self.trunk(x)
        return torch.cat([head(shared) for head in self.heads], dim=1)


class TwoHeadEstimator:
    """Learned names end in `_`."""

    name: ClassVar[str] = "two_head"

    def __init__(
        self, *, targets: Sequence[Target], columns: Sequence[Column], config: TrainingConfig | None = None
    ) -> None:
        if len(targets) != 1:
            raise LearningError("The effect of one offer is learned at a time.")
        self.targets = tuple(targets)
        self.columns = tuple(columns)
        self.config = config or TrainingConfig()

    def fit(self, train: Frame, valid: Frame, *, on_epoch_end: OnEpochEnd | None = None) -> Self:
        """Learns from `train`; `valid` only says when to stop."""
        self.preprocessor_ = Preprocessor.fit(train.x, self.columns)
        rows, held = (self._tensors(frame) for frame in (train, valid))
        generator = torch.Generator().manual_seed(self.config.seed)
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = TwoHeads(rows[0].shape[1], self.config.dropout)
            optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
            best, kept, waited = math.inf, copy.deepcopy(network.state_dict()), 0
            for epoch in range(1, EPOCHS + 1):
                learned = _epoch(network, optimiser, rows, generator)
                loss = _loss_of(network, held if len(held[0]) else rows)
                if loss < best - 1e-5:
                    best, kept, waited = loss, copy.deepcopy(network.state_dict()), 0
                else:
                    waited += 1
                if on_epoch_end is not None:
                    on_epoch_end(EpochReport(self.name, epoch, EPOCHS, learned, loss, waited == 0))
                if waited >= PATIENCE:
                    break
            network.load_state_dict(kept)
        self.network_ = network.eval()
        return self

    def predict(self, frame: Frame) -> Prediction:
        with one_thread():
            effect = in_fixed_batches(self._effect, self.inputs(frame))
        return {self.targets[0].name: TargetPrediction(mean=effect)}

    def inputs(self, frame: Frame) -> np.ndarray:
        return one_hot(self.preprocessor_.transform(frame.x), self.preprocessor_.category_sizes)

    def effect_shares(self, frame: Frame) -> np.ndarray:
        """(n, p) integrated gradients of the uplift itself, from the median customer, in points of uplift."""
        x = torch.from_numpy(self.inputs(frame).astype(np.float32))
        total = torch.zeros_like(x)
        for step in range(STEPS):
            point = (x * ((step + 0.5) / STEPS)).requires_grad_()
            chances = torch.sigmoid(self.network_(point))
            total += torch.autograd.grad((chances[:, 1] - chances[:, 0]).sum(), point)[0]
        shares = (x * total / STEPS).numpy().astype(np.float64)
        return self._onto_columns(shares)

    def save(self, directory: Path) -> None:
        described, tensors = self.preprocessor_.state()
        storage.write_json(directory / "model.json", describe(self) | {"preprocessing": described})
        state = storage.with_prefix("preprocessing", tensors)
        state |= storage.with_prefix("network", {k: v.numpy() for k, v in self.network_.state_dict().items()})
        storage.write_tensors(directory / "model.safetensors", state)

    @classmethod
    def load(cls, directory: Path) -> Self:
        described: dict[str, Any] = storage.read_json(directory / "model.json")
        tensors = storage.read_tensors(directory / "model.safetensors")
        estimator = cls(**read_description(described))
        estimator.preprocessor_ = Preprocessor.from_state(
            described["preprocessing"], storage.under_prefix("preprocessing", tensors)
        )
        weights = storage.under_prefix("network", tensors)
        network = TwoHeads(weights["trunk.0.weight"].shape[1], estimator.config.dropout)
        network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        estimator.network_ = network.eval()
        return estimator

    def _tensors(self, frame: Frame) -> tuple[torch.Tensor, ...]:
        """Inputs (n, p), outcome, treated and weight (n,)."""
        told = Assigned.of(frame, self.targets[0])
        weights = told.weights / told.weights.mean() if len(frame) else told.weights
        arrays = (self.inputs(frame), told.outcome, told.treated, weights)
        return tuple(torch.from_numpy(np.asarray(array, dtype=np.float32)) for array in arrays)

    def _effect(self, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            chances = torch.sigmoid(self.network_(torch.from_numpy(x.astype(np.float32))).double()).numpy()
        return np.asarray(chances[:, 1] - chances[:, 0])

    def _onto_columns(self, shares: np.ndarray) -> np.ndarray:
        words = self.preprocessor_.vocabularies
        hot = [name for name in words for _ in range(len(words[name]) + 1)]
        sources = [*self.preprocessor_.numeric_sources, *hot]
        position = {column.name: index for index, column in enumerate(self.columns)}
        summed = np.zeros((len(shares), len(self.columns)))
        for index, source in enumerate(sources):
            summed[:, position[source]] += shares[:, index]
        return summed


def _epoch(
    network: TwoHeads,
    optimiser: torch.optim.Optimizer,
    rows: tuple[torch.Tensor, ...],
    generator: torch.Generator,
) -> float:
    network.train()
    total = 0.0
    for batch in torch.randperm(len(rows[0]), generator=generator).split(BATCH):
        optimiser.zero_grad()
        loss = _loss(network, *(part[batch] for part in rows))
        loss.backward()
        optimiser.step()
        total += float(loss.detach()) * len(batch)
    return total / len(rows[0])


def _loss_of(network: TwoHeads, rows: tuple[torch.Tensor, ...]) -> float:
    network.eval()
    with torch.no_grad():
        return float(_loss(network, *rows))


def _loss(
    network: TwoHeads, x: torch.Tensor, outcome: torch.Tensor, treated: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of the head of the arm that came about."""
    own = network(x).gather(1, treated.long().unsqueeze(1)).squeeze(1)
    return binary_cross_entropy_with_logits(own, outcome, weight=weight)
