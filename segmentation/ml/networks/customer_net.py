"""CustomerNet: what a customer is, as a table, and what a customer did, event by event, in one network.

The tabular branch is that of TabM (arXiv 2410.24210): piecewise-linear embeddings and an efficient ensemble; the vector
of the event encoder stands beside the embeddings, so that every member of the ensemble weighs both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tabm import EnsembleView, LinearEnsemble, make_tabm_backbone
from torch import Tensor, nn

from segmentation.ml.networks.blocks import CategoryEmbeddings, numeric_embeddings
from segmentation.ml.networks.events import EventEncoder, Events


class CustomerNet(nn.Module):
    """(n, p), (n, c) and events -> (n, members, outputs)."""

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
        encoder: str,
        encoder_width: int,
        centre: Sequence[float],
        spread: Sequence[float],
    ) -> None:
        super().__init__()
        self.numbers = numeric_embeddings(bins, width=embedding_width)
        self.categories = CategoryEmbeddings(category_sizes)
        self.encoder = EventEncoder(
            encoder=encoder, width=encoder_width, centre=centre, spread=spread, dropout=dropout
        )
        self.join = nn.Sequential(nn.LayerNorm(2 * encoder_width), nn.Dropout(dropout))
        # One random sign for each column's embedding, one for each category vector and for the events.
        chunks = [embedding_width] * len(bins)
        chunks += [table.embedding_dim for table in self.categories.tables]  # type: ignore[misc]
        chunks.append(2 * encoder_width)
        self.body = nn.Sequential(
            EnsembleView(k=members),
            make_tabm_backbone(
                d_in=sum(chunks),
                n_blocks=len(hidden),
                d_block=hidden[0],
                dropout=dropout,
                k=members,
                start_scaling_init="random-signs",
                start_scaling_init_chunks=chunks,
            ),
            LinearEnsemble(hidden[0], outputs, k=members),
        )

    def forward(self, numeric: Tensor, categorical: Tensor, *events: Tensor) -> Tensor:
        parts = [self.categories(categorical), self.join(self.encoder(Events(*events)))]
        if self.numbers is not None:
            parts.insert(0, self.numbers(numeric).flatten(1))
        return self.body(torch.cat(parts, dim=1))
