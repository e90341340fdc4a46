"""A multi-task perceptron over piecewise-linear embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from segmentation.ml.networks.blocks import CategoryEmbeddings, numeric_embeddings


class MultiTaskMLP(nn.Module):
    """(n, p) float32, (n, c) int64 -> (n, 1, outputs)."""

    def __init__(
        self,
        *,
        bins: Sequence[Sequence[float]],
        category_sizes: Sequence[int],
        outputs: int,
        hidden: Sequence[int],
        dropout: float,
        embedding_width: int,
    ) -> None:
        super().__init__()
        self.numbers = numeric_embeddings(bins, width=embedding_width)
        self.categories = CategoryEmbeddings(category_sizes)
        widths = [len(bins) * embedding_width + self.categories.width, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers, nn.Linear(widths[-1], outputs))

    def forward(self, numeric: Tensor, categorical: Tensor, *events: Tensor) -> Tensor:
        parts = [self.categories(categorical)]
        if self.numbers is not None:
            parts.insert(0, self.numbers(numeric).flatten(1))
        return self.body(torch.cat(parts, dim=1)).unsqueeze(1)
