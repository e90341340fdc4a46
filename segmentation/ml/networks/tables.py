"""Piecewise-linear embeddings for answering: a row of a table instead of a product with every bin.

Without an activation such an embedding is a line between two edges, and beyond the outer edges their bins' lines go on
(Gorishniy et al. 2022, arXiv 2203.05556, equation 1). Learning wants every bin's weight; answering needs the one line.
"""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import torch
from rtdl_num_embeddings import PiecewiseLinearEmbeddings
from torch import Tensor, nn


class PiecewiseTable(nn.Module):
    """(n, p) float32 -> (n, p, width), as the embeddings it is made of but for rounding."""

    edges: Tensor
    first: Tensor
    lines: Tensor

    def __init__(self, learned: PiecewiseLinearEmbeddings) -> None:
        super().__init__()
        slopes, offsets = learned.impl.weight.detach().double(), learned.impl.bias.detach().double()
        columns, bins = slopes.shape
        used = _used(learned, columns, bins)
        steps = learned.linear.weight.detach().double()
        slope, start = learned.linear0.weight.detach().double(), learned.linear0.bias.detach().double()
        edges = torch.full((columns, bins - 1), torch.inf, dtype=torch.float64)
        lines = torch.zeros(columns, bins, 1 + 2 * steps.shape[-1], dtype=torch.float64)
        for column in range(columns):
            # The last bin's numbers lie in the last place however many there are.
            places = used[column].nonzero().flatten()
            left = -offsets[column, places] / slopes[column, places]
            edges[column, : len(places) - 1] = left[1:]
            value = start[column] + slope[column] * left[0]
            for number, place in enumerate(places.tolist()):
                rise = slope[column] + steps[column, place] * slopes[column, place]
                lines[column, number] = torch.cat([left[number : number + 1], value, rise])
                value = value + rise / slopes[column, place]
        self.width = steps.shape[-1]
        self.register_buffer("edges", edges.float())
        self.register_buffer("first", torch.arange(0, columns * bins, bins, dtype=torch.int32).unsqueeze(1))
        self.register_buffer("lines", lines.float().flatten(0, 1).contiguous())

    def forward(self, numeric: Tensor) -> Tensor:
        by_column = numeric.t().contiguous()
        rows = torch.searchsorted(self.edges, by_column, right=True, out_int32=True) + self.first
        left, value, rise = self.lines.index_select(0, rows.flatten()).split((1, self.width, self.width), 1)
        found = torch.addcmul(value, by_column.view(-1, 1) - left, rise)
        return found.view(*by_column.shape, self.width).transpose(0, 1)


def for_answering(network: nn.Module) -> nn.Module:
    """The same network with tables for its embeddings; `network` stays as it is."""
    copied = deepcopy(network).eval()
    for name, part in list(copied.named_modules()):
        if (
            isinstance(part, PiecewiseLinearEmbeddings)
            and part.activation is None
            and part.linear0 is not None
        ):
            copied.set_submodule(name, PiecewiseTable(part))
    return copied


def _used(learned: PiecewiseLinearEmbeddings, columns: int, bins: int) -> Tensor:
    """(columns, bins) which places of the encoding hold a bin."""
    mask = learned.impl.mask
    return torch.ones(columns, bins, dtype=torch.bool) if mask is None else cast(Tensor, mask)
