"""A network from its description, so that a saved one can be rebuilt before its weights are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from torch import nn

from segmentation.ml.config import TrainingConfig
from segmentation.ml.schema import LearningError
from segmentation.ml.sequences import Sequences

# Module and class, imported on use. Networks over events alone are one class with an encoder each.
NETWORKS: dict[str, tuple[str, str]] = {
    "mlp": ("mlp", "MultiTaskMLP"),
    "tabm": ("tabm", "MultiTaskTabM"),
    "ft_transformer": ("ft_transformer", "FTTransformer"),
    "autoencoder": ("autoencoder", "MultiTaskAutoencoder"),
    "conv": ("events", "EventNet"),
    "lstm": ("events", "EventNet"),
    "gru": ("events", "EventNet"),
    "transformer": ("events", "EventNet"),
    "customer_net": ("customer_net", "CustomerNet"),
}
EVENTS_ALONE = ("conv", "lstm", "gru", "transformer")
READS_EVENTS = (*EVENTS_ALONE, "customer_net")
ENSEMBLES = ("tabm", "customer_net")


def describe(
    config: TrainingConfig,
    *,
    bins: Sequence[Sequence[float]],
    category_sizes: Sequence[int],
    outputs: int,
    events: Sequences | None = None,
) -> dict[str, Any]:
    """Everything a network is built from, JSON-able. events: those of the training rows, for their scale."""
    name = config.network
    described: dict[str, Any] = {"network": name, "outputs": outputs, "hidden": list(config.hidden)}
    described["dropout"] = config.dropout
    if name not in EVENTS_ALONE:
        described |= {
            "bins": [list(row) for row in bins],
            "category_sizes": list(category_sizes),
            "embedding_width": config.embedding_width,
        }
    if name in ENSEMBLES:
        described["members"] = config.ensemble
    if name in READS_EVENTS:
        if events is None:
            raise LearningError(
                f"The network {name} learns from events, and this training has none beside its rows."
            )
        centre, spread = _scale(events)
        described |= {
            "encoder": name if name in EVENTS_ALONE else config.encoder,
            "encoder_width": config.encoder_width,
            "centre": centre,
            "spread": spread,
        }
    return described


def build(described: Mapping[str, Any]) -> nn.Module:
    values = dict(described)
    name = values.pop("network")
    if name not in NETWORKS:
        raise LearningError(f"There is no network called {name}. Choose one of: {', '.join(NETWORKS)}.")
    module, attribute = NETWORKS[name]
    made: nn.Module = getattr(import_module(f"segmentation.ml.networks.{module}"), attribute)(**values)
    return made


def _scale(events: Sequences) -> tuple[list[float], list[float]]:
    """Mean and spread of each channel over the events that are there."""
    places = np.arange(events.kinds.shape[1])
    known = events.numeric[places < events.lengths[:, None]].astype(np.float64)
    if not len(known):
        return [0.0] * events.numeric.shape[2], [1.0] * events.numeric.shape[2]
    spread = known.std(axis=0)
    return known.mean(axis=0).tolist(), np.where(spread > 1e-6, spread, 1.0).tolist()
