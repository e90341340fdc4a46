"""A small conditional generative adversarial network: one generator that makes up rows of the class it is told.

Wasserstein with gradient penalty (Gulrajani et al. 2017, arXiv 1704.00028) on normal quantiles of the numbers.
Generator and critic are both told the class (Mirza and Osindero 2014, arXiv 1411.1784); the mean and spread of each
class are held (Park et al. 2018, arXiv 1806.03384), and every class is shown equally often while learning, so that a
rare one borrows from the others what rows have in common. Text columns, and which numbers are unknown, stay those of
real rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from segmentation.ml.preprocessing import Preprocessor
from segmentation.ml.schema import Column
from segmentation.ml.trainer import repeatable

NOISE, WIDTH, STEPS, CRITIC_STEPS, BATCH = 16, 64, 80, 3, 128
PENALTY, ANCHOR, RATE = 10.0, 10.0, 5e-4
# A made-up number lies within so many spreads of its class.
REACH = 3.0
# A class of fewer rows than this is copied: a network would only learn them by heart.
FEWEST = 40


class ConditionalGAN:
    """Fitted on training rows of all classes; `sample` makes rows of one of them."""

    def __init__(self, preprocessor: Preprocessor, generator: Generator) -> None:
        self.preprocessor, self.generator = preprocessor, generator

    @classmethod
    def fit(cls, values: np.ndarray, classes: np.ndarray, *, seed: int) -> Self:
        """values: (rows, p) numbers, NaN where unknown. classes: (rows,) 0 on, without a gap."""
        names = [f"c{i}" for i in range(values.shape[1])]
        table = pl.DataFrame(values, schema=names)
        fitted = Preprocessor.fit(table, [Column(name, "numeric") for name in names])
        filled = _filled(fitted.transform(table).numeric, ~np.isfinite(values), classes)
        real = torch.from_numpy(filled)
        with repeatable(seed) as draws:
            made = _taught(real, torch.from_numpy(classes.astype(np.int64)), draws)
        return cls(fitted, made)

    def sample(self, of_class: int, count: int, *, seed: int) -> np.ndarray:
        """(count, p) made-up numbers of the class, none of them unknown."""
        with repeatable(seed) as draws, torch.inference_mode():
            told = torch.full((count,), of_class)
            made = self.generator.whole(self.generator(told, draws), told).numpy().astype(np.float64)
        scales = self.preprocessor.scales.values()
        return np.column_stack(
            [np.interp(made[:, place], scale.quantiles, scale.knots) for place, scale in enumerate(scales)]
        )


def _filled(numeric: np.ndarray, unknown: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Unknown numbers as the mean of their class: what stands for them in the whole table would be like another class."""
    filled = numeric[:, : unknown.shape[1]].copy()
    for number in np.unique(classes).tolist():
        own = classes == number
        for column in np.flatnonzero(unknown[own].any(axis=0)).tolist():
            missing = own & unknown[:, column]
            if (known := own & ~unknown[:, column]).any():
                filled[missing, column] = filled[known, column].mean()
    return filled


class Generator(nn.Module):
    """Noise and class -> a row beside its class's mean, in the class's spreads.

    It begins with normal numbers correlated like those of the class, and learns where those are not what rows look like.
    """

    def __init__(self, centre: Tensor, spread: Tensor, roots: Tensor) -> None:
        super().__init__()
        self.classes, self.width = centre.shape
        self.noise = max(NOISE, self.width)
        self.body = _network(self.noise + self.classes, self.width, nn.ReLU())
        nn.init.zeros_(self.body[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.body[-1].bias)  # type: ignore[arg-type]
        self.centre, self.spread, self.roots = centre, spread, roots

    def forward(self, of_class: Tensor, draws: torch.Generator) -> Tensor:
        noise = torch.randn(len(of_class), self.noise, generator=draws)
        told = functional.one_hot(of_class, self.classes).float()
        begun = (self.roots[of_class] @ noise[:, : self.width].unsqueeze(-1)).squeeze(-1)
        made = begun + self.body(torch.cat([noise, told], dim=1))
        return made.clamp(-REACH, REACH)

    def whole(self, made: Tensor, of_class: Tensor) -> Tensor:
        return self.centre[of_class] + self.spread[of_class] * made


@dataclass(frozen=True)
class _Rows:
    """Rows by class: those of class c are order[start[c]] and the count[c] - 1 that follow."""

    order: Tensor
    start: Tensor
    count: Tensor

    @classmethod
    def by(cls, classes: Tensor) -> Self:
        count = torch.bincount(classes)
        return cls(torch.argsort(classes, stable=True), torch.cumsum(count, 0) - count, count)

    def drawn(self, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """BATCH classes, each equally likely, and a row of each."""
        wanted = torch.randint(len(self.count), (BATCH,), generator=draws)
        place = (torch.rand(BATCH, generator=draws) * self.count[wanted]).long()
        return wanted, self.order[self.start[wanted] + place.minimum(self.count[wanted] - 1)]


def _taught(real: Tensor, classes: Tensor, draws: torch.Generator) -> Generator:
    rows = _Rows.by(classes)
    count, width = len(rows.count), real.shape[1]
    own = [real[classes == number] for number in range(count)]
    centre = torch.stack([part.mean(0) for part in own])
    spread = torch.stack([part.std(0, correction=0).clamp(min=1e-6) for part in own])
    beside = (real - centre[classes]) / spread[classes]
    roots = torch.stack([_root(beside[classes == number]) for number in range(count)])
    generator, critic = Generator(centre, spread, roots), _network(width + count, 1, nn.LeakyReLU(0.2))
    makes, judges = (
        torch.optim.Adam(part.parameters(), lr=RATE, betas=(0.5, 0.9)) for part in (generator, critic)
    )

    def judged(given: Tensor, of_class: Tensor) -> Tensor:
        return critic(torch.cat([given, functional.one_hot(of_class, count).float()], dim=1)).mean()

    for _ in range(STEPS):
        for _ in range(CRITIC_STEPS):
            wanted, chosen = rows.drawn(draws)
            false, true = generator(wanted, draws).detach(), beside[chosen]
            judges.zero_grad()
            distance = judged(false, wanted) - judged(true, wanted)
            told = functional.one_hot(wanted, count).float()
            (distance + PENALTY * _penalty(critic, true, false, told, draws)).backward()
            judges.step()
        wanted = rows.drawn(draws)[0]
        makes.zero_grad()
        made = generator(wanted, draws)
        (ANCHOR * _drift(made, wanted, count) - judged(made, wanted)).backward()
        makes.step()
    return generator.eval()


def _drift(made: Tensor, of_class: Tensor, count: int) -> Tensor:
    """How far the rows made of each class are from its mean (0) and spread (1): the information loss of table-GAN."""
    told = functional.one_hot(of_class, count).float()
    rows = told.sum(0).clamp(min=1.0).unsqueeze(1)
    mean = told.T @ made / rows
    spread = (told.T @ made**2 / rows - mean**2).clamp(min=1e-6).sqrt()
    return (mean**2 + (spread - 1.0) ** 2).mean()


def _root(rows: Tensor) -> Tensor:
    """(p, p) lower triangle whose square is the rows' correlation, drawn towards none where rows are few."""
    width, count = rows.shape[1], len(rows)
    likeness = rows.T @ rows / count
    share = min(0.9, 0.05 + width / (width + count))
    mixed = (1 - share) * likeness + share * torch.eye(width)
    return torch.linalg.cholesky(mixed)


def _network(inputs: int, outputs: int, bend: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, WIDTH), bend, nn.Linear(WIDTH, WIDTH), bend, nn.Linear(WIDTH, outputs)
    )


def _penalty(critic: nn.Module, real: Tensor, made: Tensor, told: Tensor, draws: torch.Generator) -> Tensor:
    share = torch.rand(len(real), 1, generator=draws)
    between = (share * real + (1 - share) * made).requires_grad_()
    slope = torch.autograd.grad(critic(torch.cat([between, told], dim=1)).sum(), between, create_graph=True)[
        0
    ]
    return ((slope.norm(dim=1) - 1) ** 2).mean()
