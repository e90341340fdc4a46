"""What a network over events looked at. It is no reason: attention says where, not which way or whether it mattered.

Jain and Wallace 2019, "Attention is not explanation" (arXiv 1902.10186): other weights often give the same answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from segmentation.ml.schema import Estimator, Frame
from segmentation.ml.threads import one_thread

if TYPE_CHECKING:
    from segmentation.ml.neural import NeuralEstimator


def looked_at(estimator: Estimator, frame: Frame) -> np.ndarray | None:
    """(n, s) shares of the s newest events of `frame`, the mean of the networks inside that attend; None without one.

    Rows add up to 1, or to 0 for a customer without events. Places are those of `frame.events`.
    """
    if frame.events is None:
        return None
    places = frame.events.kinds.shape[1]
    found = [
        _at_places(shares, frame, places)
        for network in _networks(estimator)
        if (shares := _of_network(network, frame)) is not None
    ]
    return np.mean(found, axis=0) if found else None


def _networks(estimator: Estimator) -> Iterator[NeuralEstimator]:
    if getattr(estimator, "events_read", 0) and hasattr(estimator, "network_"):
        yield estimator  # type: ignore[misc]
    for inside in (*getattr(estimator, "members", ()), getattr(estimator, "estimator", None)):
        if inside is not None:
            yield from _networks(inside)


def _of_network(estimator: NeuralEstimator, frame: Frame) -> np.ndarray | None:
    import torch

    from segmentation.ml.networks.events import EventEncoder, Events

    encoder, events = getattr(estimator.network_, "encoder", None), estimator.events_of(frame)
    if not isinstance(encoder, EventEncoder) or events is None:
        return None
    with one_thread(), torch.inference_mode():
        shares = encoder.looked_at(Events(*(torch.from_numpy(array) for array in events.arrays)))
    return None if shares is None else shares.float().numpy()


def _at_places(shares: np.ndarray, frame: Frame, places: int) -> np.ndarray:
    """A network that reads fewer events has shares of the newest alone."""
    if frame.events is None or shares.shape[1] == places:
        return shares
    found = np.zeros((len(shares), places))
    lengths = frame.events.lengths.astype(int)
    for row, length in enumerate(lengths.tolist()):
        read = min(length, shares.shape[1])
        found[row, length - read : length] = shares[row, :read]
    return found
