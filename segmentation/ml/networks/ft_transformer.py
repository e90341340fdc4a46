"""FT-Transformer (Gorishniy et al. 2021, arXiv 2106.11959): a token a column, attention among them, one token answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segmentation.ml.networks.events import Block


class FTTransformer(nn.Module):
    """(n, p), (n, c) -> (n, 1, outputs). `hidden` is the width of a token, once a block."""

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
        width = hidden[0]
        self.weight = nn.Parameter(torch.randn(len(bins), width) / width**0.5)
        self.bias = nn.Parameter(torch.randn(len(bins), width) / width**0.5)
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in category_sizes)
        self.answer = nn.Parameter(torch.randn(width) / width**0.5)
        self.blocks = nn.ModuleList(Block(width, dropout, causal=False) for _ in hidden)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, outputs))

    def forward(self, numeric: Tensor, categorical: Tensor, *events: Tensor) -> Tensor:
        tokens = [self.answer.expand(len(numeric), 1, -1), numeric.unsqueeze(-1) * self.weight + self.bias]
        tokens += [table(categorical[:, i]).unsqueeze(1) for i, table in enumerate(self.tables)]
        x = torch.cat(tokens, dim=1)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        # Nobody reads the other tokens any more.
        return self.head(last(x, first=1))
