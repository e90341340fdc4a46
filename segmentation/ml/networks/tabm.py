"""A parameter-efficient ensemble of perceptrons (Gorishniy et al. 2025, TabM, arXiv 2410.24210)."""

from __future__ import annotations

from collections.abc import Sequence

from tabm import TabM
from torch import Tensor, nn

from segmentation.ml.networks.blocks import numeric_embeddings


class MultiTaskTabM(nn.Module):
    """(n, p) float32, (n, c) int64 -> (n, k, outputs), one answer of each of the k members."""

    def __init__(
        self,
        *,
        bins: Sequence[Sequence[float]],
        category_sizes: Sequence[int],
        outputs: int,
        hidden: Sequence[int],
        dropout: float,
        embedding_width: int,
        members: int,
    ) -> None:
        super().__init__()
        self.has_numbers, self.has_categories = bool(bins), bool(category_sizes)
        embeddings = numeric_embeddings(bins, width=embedding_width)
        self.body = TabM.make(
            n_num_features=len(bins),
            cat_cardinalities=list(category_sizes),
            num_embeddings=embeddings,
            d_out=outputs,
            n_blocks=len(hidden),
            d_block=hidden[0],
            dropout=dropout,
            k=members,
        )

    def forward(self, numeric: Tensor, categorical: Tensor, *events: Tensor) -> Tensor:
        return self.body(numeric if self.has_numbers else None, categorical if self.has_categories else None)
