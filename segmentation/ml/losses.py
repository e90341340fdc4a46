"""Losses of the three kinds of target; each averages over the rows whose label is known.

Shapes: n rows, k ensemble members (1 for a plain network). Every member learns from every row.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

# A log-normal narrower than this would let one lucky row dominate the likelihood.
MIN_SIGMA = 0.05


def binary_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """logits (n, k, 1), labels (n,) 0/1, NaN unknown -> scalar binary cross-entropy."""
    known = torch.isfinite(labels)
    scores = logits[known, :, 0]
    truth = labels[known].unsqueeze(1).expand_as(scores)
    return _mean(functional.binary_cross_entropy_with_logits(scores, truth, reduction="none"))


def multiclass_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """logits (n, k, classes), labels (n,) class index, negative unknown -> scalar cross-entropy."""
    known = labels >= 0
    scores = logits[known]
    truth = labels[known].long().unsqueeze(1).expand(scores.shape[:2])
    return _mean(functional.cross_entropy(scores.flatten(0, 1), truth.flatten(), reduction="none"))


def ziln_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """outputs (n, k, 3): logit of buying, mu, raw sigma; labels (n,) spend, NaN unknown -> scalar.

    Cross-entropy of buying plus, for buyers, the log-normal negative log-likelihood; averaged over all
    known rows as in arXiv 1912.07753, so the second part weighs as much as its rows.
    """
    known = torch.isfinite(labels)
    logit, mu, sigma = ziln_parameters(outputs[known])
    spend = labels[known].unsqueeze(1).expand_as(logit)
    buys = spend > 0
    buying = functional.binary_cross_entropy_with_logits(logit, buys.to(logit.dtype), reduction="none")
    log_spend = torch.log(torch.where(buys, spend, torch.ones_like(spend)))
    spread = (log_spend - mu) / sigma
    density = log_spend + torch.log(sigma) + 0.5 * math.log(2 * math.pi) + 0.5 * spread**2
    return _mean(buying + torch.where(buys, density, torch.zeros_like(density)))


def ziln_parameters(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(..., 3) raw outputs -> logit of buying, mu, sigma > MIN_SIGMA, each (...)."""
    logit, mu, raw = outputs.unbind(dim=-1)
    return logit, mu, functional.softplus(raw) + MIN_SIGMA


def _mean(values: Tensor) -> Tensor:
    """0 of an empty batch rather than NaN: a batch without known labels teaches nothing."""
    return values.mean() if values.numel() else values.sum()
