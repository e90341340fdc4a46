"""Why a customer got an answer: the share of each feature in it, and the few largest.

Shares are in log-odds (binary) or in the log of the expected value, from a stated starting point:
LightGBM's own TreeSHAP from the average training row; integrated gradients of a network (Sundararajan et al.
2017, arXiv 1703.01365) from the median customer; a linear model's terms from the average row. A blend takes
the mean of its members' shares. Methods differ, so the method is named beside every explanation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.ml.schema import Estimator, Frame, LearningError, Target, target_named
from segmentation.ml.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from segmentation.ml.boosting import LightGBMEstimator
    from segmentation.ml.classical import LinearEstimator
    from segmentation.ml.neural import NeuralEstimator

STEPS = 32
METHODS = {
    "lightgbm": "TreeSHAP from the average training row",
    "mlp": "integrated gradients from the median customer",
    "logistic": "linear terms from the average row",
    "btyd": "linear terms from the average row",
}


@dataclass(frozen=True)
class Reason:
    """One feature's share in an answer; positive pushes it up."""

    feature: str
    contribution: float


def explain(estimator: Estimator, frame: Frame, *, target: str, top: int = 5) -> list[tuple[Reason, ...]]:
    """For each row the `top` features with the largest shares, largest first, those of no effect left out."""
    names, shares = contributions(estimator, frame, target=target)
    return [_largest(names, row, top) for row in shares]


def method(estimator: Estimator) -> str:
    """How `explain` finds its shares for this estimator, in words."""
    members = _members(estimator)
    return "; ".join(dict.fromkeys(METHODS[member.name] for member in members))


def contributions(estimator: Estimator, frame: Frame, *, target: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Feature names (p) and their shares (n, p) in each row's answer."""
    wanted = target_named(estimator.targets, target)
    if wanted.kind == "multiclass":
        raise LearningError(f"Reasons are given for binary targets and values; {target} has classes.")
    names = tuple(column.name for column in estimator.columns)
    members = _members(estimator)
    with one_thread():
        shares = [_onto(names, *_shares(member, frame, wanted)) for member in members]
    return names, np.mean(shares, axis=0)


def _members(estimator: Any) -> tuple[Estimator, ...]:
    """The estimators that do the work inside a served model or a blend."""
    if estimator.name == "served":
        return _members(estimator.estimator)
    if estimator.name == "blend":
        return tuple(part for member in estimator.members for part in _members(member))
    return (estimator,)


def _shares(estimator: Any, frame: Frame, target: Target) -> tuple[Sequence[str], np.ndarray]:
    """Input names, repeated where a feature has several inputs, and their shares (n, inputs)."""
    if estimator.name == "lightgbm":
        return _tree_shares(estimator, frame, target)
    if estimator.name == "mlp":
        return _gradient_shares(estimator, frame, target)
    return _linear_shares(estimator, frame, target)


def _onto(names: Sequence[str], sources: Sequence[str], shares: np.ndarray) -> np.ndarray:
    """Sum the shares of all inputs of a feature: (n, inputs) -> (n, features)."""
    position = {name: index for index, name in enumerate(names)}
    summed = np.zeros((len(shares), len(names)))
    for column, source in enumerate(sources):
        summed[:, position[source]] += shares[:, column]
    return summed


def _tree_shares(
    estimator: LightGBMEstimator, frame: Frame, target: Target
) -> tuple[Sequence[str], np.ndarray]:
    name = target.name if target.kind == "binary" else f"{target.name}.mean"
    found = estimator.boosters_[name].predict(estimator.inputs(frame), pred_contrib=True, num_threads=1)
    # The last column is the average the shares start from.
    return [column.name for column in estimator.columns], np.asarray(found)[:, :-1]


def _linear_shares(
    estimator: LinearEstimator, frame: Frame, target: Target
) -> tuple[Sequence[str], np.ndarray]:
    return estimator.input_sources(), estimator.models_[target.name].contributions(estimator.inputs(frame))


def _gradient_shares(
    estimator: NeuralEstimator, frame: Frame, target: Target
) -> tuple[Sequence[str], np.ndarray]:
    """Integrated gradients over numbers; a category's share is what swapping it for "unknown" changes."""
    import torch

    encoded = estimator.preprocessor_.transform(frame.x)
    numeric, codes = torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categorical)
    total = torch.zeros_like(numeric)
    # Quantile-normal inputs are 0 at the median and at "not missing".
    for step in range(STEPS):
        point = (numeric * ((step + 0.5) / STEPS)).requires_grad_()
        answer = _answer(estimator, target, point, codes)
        total += torch.autograd.grad(answer.sum(), point)[0]
    shares = [(numeric * total / STEPS).numpy().astype(np.float64)]
    with torch.no_grad():
        whole = _answer(estimator, target, numeric, codes)
        for position in range(codes.shape[1]):
            swapped = codes.clone()
            swapped[:, position] = 0
            change = whole - _answer(estimator, target, numeric, swapped)
            shares.append(change.unsqueeze(1).numpy().astype(np.float64))
    preprocessor = estimator.preprocessor_
    return (*preprocessor.numeric_sources, *preprocessor.vocabularies), np.concatenate(shares, axis=1)


def _answer(estimator: NeuralEstimator, target: Target, numeric: Tensor, codes: Tensor) -> Tensor:
    """(n,) mean over members of the log-odds, or of the log of the expected value."""
    from torch.nn.functional import logsigmoid

    from segmentation.ml.losses import ziln_parameters

    outputs = estimator.layout.split(estimator.network_(numeric, codes))[target.name]
    if target.kind == "binary":
        return outputs[:, :, 0].mean(dim=1)
    logit, mu, sigma = ziln_parameters(outputs)
    return (logsigmoid(logit) + mu + sigma**2 / 2).mean(dim=1)


def _largest(names: Sequence[str], shares: np.ndarray, top: int) -> tuple[Reason, ...]:
    order = np.argsort(-np.abs(shares), kind="stable")[:top]
    return tuple(Reason(names[i], float(shares[i])) for i in order if shares[i] != 0.0)
