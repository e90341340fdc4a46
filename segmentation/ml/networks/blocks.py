"""Parts shared by the networks: numeric embeddings, category embeddings, the layout of the heads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rtdl_num_embeddings import PiecewiseLinearEmbeddings
from torch import Tensor, nn

from segmentation.ml.schema import Target

HEAD_WIDTH = {"binary": 1, "value": 3}


@dataclass(frozen=True)
class HeadLayout:
    """Where each target's outputs lie in the last dimension of a network."""

    targets: tuple[Target, ...]

    @property
    def width(self) -> int:
        return sum(head_width(target) for target in self.targets)

    def split(self, outputs: Tensor) -> dict[str, Tensor]:
        """(n, k, width) -> target name -> (n, k, width of its head)."""
        parts = torch.split(outputs, [head_width(target) for target in self.targets], dim=-1)
        return {target.name: part for target, part in zip(self.targets, parts, strict=True)}


def head_width(target: Target) -> int:
    return HEAD_WIDTH.get(target.kind, len(target.classes))


def piecewise_bins(numeric: np.ndarray, count: int) -> list[list[float]]:
    """Rising bin edges per column of (n, p) at its training quantiles; at least one bin each."""
    levels = np.linspace(0.0, 1.0, count + 1)
    return [_edges(np.quantile(column, levels)) for column in numeric.T]


def _edges(quantiles: np.ndarray) -> list[float]:
    edges = np.unique(quantiles.astype(np.float32))
    # Edges closer than this would make a bin so steep that rounding decides.
    kept = edges[np.concatenate([[True], np.diff(edges) > 1e-3])]
    return [float(e) for e in kept] if len(kept) > 1 else [float(kept[0]), float(kept[0]) + 1.0]


def numeric_embeddings(bins: Sequence[Sequence[float]], *, width: int) -> PiecewiseLinearEmbeddings | None:
    """Piecewise-linear embeddings (Gorishniy et al. 2022, version B of TabM), None without numbers."""
    if not bins:
        return None
    edges = [torch.tensor(row, dtype=torch.float32) for row in bins]
    with warnings.catch_warnings():
        # Indicators have one bin and rightly so; the library advises against it once per column.
        warnings.filterwarnings("ignore", message=".*just two bin edges.*")
        return PiecewiseLinearEmbeddings(edges, width, activation=False, version="B")


class CategoryEmbeddings(nn.Module):
    """One learned vector per category and column, side by side: (n, c) int64 -> (n, width)."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, min(16, (size + 1) // 2)) for size in sizes)
        self.width = sum(min(16, (size + 1) // 2) for size in sizes)

    def forward(self, codes: Tensor) -> Tensor:
        parts = [table(codes[:, position]) for position, table in enumerate(self.tables)]
        return torch.cat(parts, dim=1) if parts else codes.new_zeros((len(codes), 0), dtype=torch.float32)
