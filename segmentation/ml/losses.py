"""Losses of the three kinds of target; each averages over the rows whose label is known.

Shapes: n rows, k ensemble members (1 for a plain network). Every member learns from every row.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from segmentation.ml.schema import Target

# A log-normal narrower than this would let one lucky row dominate the likelihood.
MIN_SIGMA = 0.05


# Rows already answered well weigh (1 - chance of the truth) to this power (Lin et al. 2017, arXiv 1708.02002).
FOCUS = 2.0


def binary_loss(
    logits: Tensor, labels: Tensor, *, kind: str = "cross_entropy", weights: Tensor | None = None
) -> Tensor:
    """logits (n, k, 1), labels (n,) 0/1, NaN unknown, weights (2,) of the classes -> scalar.

    kind: cross_entropy, focal, or hinge, for which a logit is a margin.
    """
    known = torch.isfinite(labels)
    scores = logits[known, :, 0]
    truth = labels[known].unsqueeze(1).expand_as(scores)
    if kind == "hinge":
        loss = functional.relu(1.0 - scores * (2.0 * truth - 1.0))
    else:
        loss = functional.binary_cross_entropy_with_logits(scores, truth, reduction="none")
        if kind == "focal":
            loss = (1.0 - torch.exp(-loss)) ** FOCUS * loss
    if weights is not None:
        loss = loss * weights[truth.long()]
    return _mean(loss)


def multiclass_loss(
    logits: Tensor, labels: Tensor, *, kind: str = "cross_entropy", weights: Tensor | None = None
) -> Tensor:
    """logits (n, k, classes), labels (n,) class index, negative unknown, weights (classes,) -> scalar."""
    known = labels >= 0
    scores = logits[known].flatten(0, 1)
    truth = labels[known].long().unsqueeze(1).expand(logits[known].shape[:2]).flatten()
    if kind == "hinge":
        loss = functional.multi_margin_loss(scores, truth, reduction="none") if len(truth) else scores.sum(1)
    else:
        loss = functional.cross_entropy(scores, truth, reduction="none")
        if kind == "focal":
            loss = (1.0 - torch.exp(-loss)) ** FOCUS * loss
    if weights is not None:
        loss = loss * weights[truth]
    return _mean(loss)


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


def row_loss(target: Target, outputs: Tensor, label: Tensor) -> Tensor:
    """outputs (k, width) of one row, label () -> its cross-entropy as a scalar, 0 where the label is unknown.

    The same numbers as the losses above for a batch of one, without looking into the label, so that it can be mapped.
    """
    if target.kind == "multiclass":
        known = label >= 0
        truth = torch.where(known, label, torch.zeros_like(label)).long()
        picked = torch.arange(outputs.shape[-1], device=outputs.device) == truth
        loss = -(functional.log_softmax(outputs, dim=-1) * picked).sum(dim=-1).mean()
        return torch.where(known, loss, torch.zeros_like(loss))
    known = torch.isfinite(label)
    truth = torch.where(known, label, torch.zeros_like(label))
    if target.kind == "binary":
        scores = outputs[:, 0]
        loss = functional.binary_cross_entropy_with_logits(scores, truth.expand_as(scores))
        return torch.where(known, loss, torch.zeros_like(loss))
    logit, mu, sigma = ziln_parameters(outputs)
    buys = truth > 0
    buying = functional.binary_cross_entropy_with_logits(logit, buys.to(logit.dtype).expand_as(logit))
    log_spend = torch.log(torch.where(buys, truth, torch.ones_like(truth)))
    density = (
        log_spend + torch.log(sigma) + 0.5 * math.log(2 * math.pi) + 0.5 * ((log_spend - mu) / sigma) ** 2
    )
    loss = buying + torch.where(buys, density.mean(), torch.zeros_like(buying))
    return torch.where(known, loss, torch.zeros_like(loss))


def ziln_parameters(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(..., 3) raw outputs -> logit of buying, mu, sigma > MIN_SIGMA, each (...)."""
    logit, mu, raw = outputs.unbind(dim=-1)
    return logit, mu, functional.softplus(raw) + MIN_SIGMA


def _mean(values: Tensor) -> Tensor:
    """0 of an empty batch rather than NaN: a batch without known labels teaches nothing."""
    return values.mean() if values.numel() else values.sum()
