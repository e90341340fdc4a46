"""Why a customer got an answer: the share of each feature in it, and the few largest.

Shares are in log-odds (binary), in the log-odds of one class against the mean of the others, or in the log of the
expected value, or in points of uplift, from a stated starting point:
LightGBM's own TreeSHAP from the average training row; integrated gradients of a network (Sundararajan et al.
2017, arXiv 1703.01365) from the median customer; a linear model's terms from the average row; and for whatever has
none of these, what the answer loses once a value becomes a usual one (ml/occlusion.py). A blend takes
its members' shares, each weighed by its part in the answer. Methods differ, so the method is named beside every explanation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.ml import occlusion
from segmentation.ml.schema import Estimator, Frame, LearningError, Target, target_named
from segmentation.ml.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from segmentation.ml.boosting import LightGBMEstimator
    from segmentation.ml.classical import LinearEstimator
    from segmentation.ml.neural import NeuralEstimator

STEPS = 32
# Groups and anomalies: there is no right answer that a feature could speak for.
WITHOUT_SHARES = frozenset({"clusters", "anomaly"})
METHODS = {
    "lightgbm": "TreeSHAP from the average training row",
    "mlp": "integrated gradients from the median customer",
    "logistic": "linear terms from the average row",
    "btyd": "linear terms from the average row",
    "t_learner": "TreeSHAP of both arms from the average training row",
    "x_learner": "TreeSHAP of the effect from the average training row",
    "class_transformation": "TreeSHAP from the average training row",
    "two_head": "integrated gradients of the effect from the median customer",
    "occlusion": "occlusion: the loss once a value is the median one, or events are taken away",
}


@dataclass(frozen=True)
class Asked:
    """A target, and of its classes the one to explain (1, "yes", for a binary one)."""

    target: Target
    of_class: int


@dataclass(frozen=True)
class Reason:
    """One feature's share in an answer; positive pushes it up."""

    feature: str
    contribution: float


def explain(
    estimator: Estimator, frame: Frame, *, target: str, of_class: int | None = None, top: int = 5
) -> list[tuple[Reason, ...]]:
    """For each row the `top` features with the largest shares, largest first, those of no effect left out."""
    names, shares = contributions(estimator, frame, target=target, of_class=of_class)
    return [_largest(names, row, top) for row in shares]


def method(estimator: Estimator) -> str:
    """How `explain` finds its shares for this estimator, in words."""
    return "; ".join(dict.fromkeys(METHODS[name] for name in methods_of(estimator)))


def methods_of(estimator: Estimator) -> tuple[str, ...]:
    """How the shares of each learner that did the work are found: keys of METHODS."""
    return tuple(_method(member) for member in _members(estimator) if member.name not in WITHOUT_SHARES)


def _method(member: Any) -> str:
    """Integrated gradients need columns with numbers of their own; the rest is asked by occlusion."""
    if member.name == "mlp":
        plain = "bins" in member.described_ and member.preprocessor_.projection is None
        return "mlp" if plain else "occlusion"
    if hasattr(member, "preprocessor_") and getattr(member.preprocessor_, "projection", None) is not None:
        return "occlusion"
    return member.name if member.name in METHODS else "occlusion"


def contributions(
    estimator: Estimator, frame: Frame, *, target: str, of_class: int | None = None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Feature names (p) and their shares (n, p) in each row's answer; kinds of event follow the columns.

    of_class: for a target with classes the index of the one to explain, and needed there.
    """
    wanted = target_named(estimator.targets, target)
    if wanted.kind == "multiclass" and of_class is None:
        raise LearningError(f"{target} has classes; say which one to explain.")
    asked = Asked(wanted, 1 if of_class is None else of_class)
    with one_thread():
        found = [(weight, *_shares(member, frame, asked)) for member, weight in _weighed(estimator, target)]
    events = [name for _weight, sources, _s in found for name in sources if occlusion.is_events(name)]
    names = (*(column.name for column in estimator.columns), *dict.fromkeys(events))
    return names, np.sum([weight * _onto(names, sources, part) for weight, sources, part in found], axis=0)


def _members(estimator: Any) -> tuple[Estimator, ...]:
    """The estimators that do the work inside a served model or a blend."""
    return tuple(member for member, _weight in _weighed(estimator, ""))


def _weighed(estimator: Any, target: str, weight: float = 1.0) -> list[tuple[Estimator, float]]:
    """Whoever does the work, each with its share in the answer: a blend's members have equal ones unless weights were
    learned for the target, a blend within a blend the one share together."""
    if estimator.name == "served":
        return _weighed(estimator.estimator, target, weight)
    if estimator.name in ("blend", "voting", "stacking"):
        equal = [1.0 / len(estimator.members)] * len(estimator.members)
        parts = getattr(estimator, "weights", {}).get(target, equal)
        return [
            pair
            for member, part in zip(estimator.members, parts, strict=True)
            for pair in _weighed(member, target, weight * part)
        ]
    return [(estimator, weight)]


def _shares(estimator: Any, frame: Frame, asked: Asked) -> tuple[Sequence[str], np.ndarray]:
    """Input names, repeated where a feature has several inputs, and their shares (n, inputs)."""
    if estimator.name in WITHOUT_SHARES:
        raise LearningError(
            f"{asked.target.name} comes without shares of features; its profile says what it means."
        )
    if asked.target.kind == "effect":
        # In points of uplift, whichever learner it is.
        return [column.name for column in estimator.columns], estimator.effect_shares(frame)
    how = _method(estimator)
    if how == "occlusion":
        return occlusion.shares(estimator, frame, asked.target, asked.of_class)
    if how == "lightgbm":
        return _tree_shares(estimator, frame, asked)
    if how == "mlp":
        return _gradient_shares(estimator, frame, asked)
    return _linear_shares(estimator, frame, asked)


def _against_others(scores: np.ndarray, of_class: int) -> np.ndarray:
    """(n, classes, …) -> (n, …): one class less the mean of the others."""
    others = np.delete(scores, of_class, axis=1).mean(axis=1)
    return np.asarray(scores[:, of_class] - others)


def _onto(names: Sequence[str], sources: Sequence[str], shares: np.ndarray) -> np.ndarray:
    """Sum the shares of all inputs of a feature: (n, inputs) -> (n, features)."""
    position = {name: index for index, name in enumerate(names)}
    summed = np.zeros((len(shares), len(names)))
    for column, source in enumerate(sources):
        summed[:, position[source]] += shares[:, column]
    return summed


def _tree_shares(
    estimator: LightGBMEstimator, frame: Frame, asked: Asked
) -> tuple[Sequence[str], np.ndarray]:
    target = asked.target
    name = f"{target.name}.mean" if target.kind == "value" else target.name
    booster = estimator.boosters_[name]
    found = np.asarray(booster.predict(estimator.inputs(frame), pred_contrib=True, num_threads=1))
    inputs = [column.name for column in estimator.columns]
    # A block of inputs for each class; the last column of a block is the average the shares start from.
    blocks = found.reshape(len(found), -1, len(inputs) + 1)[:, :, :-1]
    return inputs, blocks[:, 0] if blocks.shape[1] == 1 else _against_others(blocks, asked.of_class)


def _linear_shares(
    estimator: LinearEstimator, frame: Frame, asked: Asked
) -> tuple[Sequence[str], np.ndarray]:
    from segmentation.ml.linear import LinearClassifier

    model, x = estimator.models_[asked.target.name], estimator.inputs(frame)
    if isinstance(model, LinearClassifier):
        return estimator.input_sources(), model.contributions(x, asked.of_class)
    return estimator.input_sources(), model.contributions(x)


def _gradient_shares(
    estimator: NeuralEstimator, frame: Frame, asked: Asked
) -> tuple[Sequence[str], np.ndarray]:
    """Integrated gradients over numbers; a category's share is what swapping it for "unknown" changes.

    Of a network that also reads events these are the shares of the columns, with the customer's own events beside them.
    """
    import torch

    read = estimator.events_of(frame)
    events = () if read is None else tuple(torch.from_numpy(array) for array in read.arrays)
    encoded = estimator.preprocessor_.transform(frame.x)
    numeric, codes = torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categorical)
    total = torch.zeros_like(numeric)
    # Quantile-normal inputs are 0 at the median and at "not missing".
    for step in range(STEPS):
        point = (numeric * ((step + 0.5) / STEPS)).requires_grad_()
        answer = _answer(estimator, asked, point, codes, events)
        total += torch.autograd.grad(answer.sum(), point)[0]
    shares = [(numeric * total / STEPS).numpy().astype(np.float64)]
    with torch.no_grad():
        whole = _answer(estimator, asked, numeric, codes, events)
        for position in range(codes.shape[1]):
            swapped = codes.clone()
            swapped[:, position] = 0
            change = whole - _answer(estimator, asked, numeric, swapped, events)
            shares.append(change.unsqueeze(1).numpy().astype(np.float64))
    preprocessor = estimator.preprocessor_
    return (*preprocessor.numeric_sources, *preprocessor.vocabularies), np.concatenate(shares, axis=1)


def _answer(
    estimator: NeuralEstimator, asked: Asked, numeric: Tensor, codes: Tensor, events: Sequence[Tensor] = ()
) -> Tensor:
    """(n,) mean over members of the log-odds (of a class against the others), or of the log of the expected value."""
    from torch.nn.functional import logsigmoid

    from segmentation.ml.losses import ziln_parameters

    outputs = estimator.layout.split(estimator.network_(numeric, codes, *events))[asked.target.name]
    if asked.target.kind == "binary":
        return outputs[:, :, 0].mean(dim=1)
    if asked.target.kind == "multiclass":
        scores = outputs.mean(dim=1)
        own = scores[:, asked.of_class]
        return own - (scores.sum(dim=1) - own) / (scores.shape[1] - 1)
    logit, mu, sigma = ziln_parameters(outputs)
    return (logsigmoid(logit) + mu + sigma**2 / 2).mean(dim=1)


def _largest(names: Sequence[str], shares: np.ndarray, top: int) -> tuple[Reason, ...]:
    order = np.argsort(-np.abs(shares), kind="stable")[:top]
    return tuple(Reason(names[i], float(shares[i])) for i in order if shares[i] != 0.0)
