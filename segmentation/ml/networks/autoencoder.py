"""A variational autoencoder whose features feed the heads: columns are squeezed, rebuilt, and judged by both.

Kingma and Welling 2013, arXiv 1312.6114. The latent mean stands beside the embedded columns in front of the heads, so
that a rare combination of columns is seen as one thing; the rebuilding error is part of the loss while learning.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmentation.ml.networks.blocks import CategoryEmbeddings, numeric_embeddings

REBUILD, PRIOR = 0.1, 0.002


class MultiTaskAutoencoder(nn.Module):
    """(n, p), (n, c) -> (n, 1, outputs); `hidden` is (width of its layers, size of the latent vector)."""

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
        wide, latent = hidden[0], hidden[-1]
        self.numbers = numeric_embeddings(bins, width=embedding_width)
        self.categories = CategoryEmbeddings(category_sizes)
        given = len(bins) * embedding_width + self.categories.width
        self.squeeze = nn.Sequential(nn.Linear(given, wide), nn.ReLU(), nn.Linear(wide, 2 * latent))
        self.rebuild = nn.Sequential(nn.Linear(latent, wide), nn.ReLU(), nn.Linear(wide, len(bins)))
        self.head = nn.Sequential(
            nn.Linear(given + latent, wide), nn.ReLU(), nn.Dropout(dropout), nn.Linear(wide, outputs)
        )
        self.extra = torch.zeros(())

    def forward(self, numeric: Tensor, categorical: Tensor, *events: Tensor) -> Tensor:
        parts = [self.categories(categorical)]
        if self.numbers is not None:
            parts.insert(0, self.numbers(numeric).flatten(1))
        given = torch.cat(parts, dim=1)
        mean, spread = self.squeeze(given).chunk(2, dim=1)
        if self.training:
            self.extra = self._extra(numeric, mean, spread.clamp(-8, 8))
        return self.head(torch.cat([given, mean], dim=1)).unsqueeze(1)

    def auxiliary_loss(self) -> Tensor:
        """Of the last batch: how badly columns were rebuilt, and how far latent vectors lie from the prior. Told once."""
        told, self.extra = self.extra, torch.zeros(())
        return told

    def _extra(self, numeric: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        drawn = mean + torch.randn_like(mean) * torch.exp(spread / 2)
        prior = -0.5 * (1 + spread - mean**2 - spread.exp()).sum(dim=1).mean()
        if not numeric.shape[1]:
            return PRIOR * prior
        return REBUILD * functional.mse_loss(self.rebuild(drawn), numeric) + PRIOR * prior
