"""A network from its description, so that a saved one can be rebuilt before its weights are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from segmentation.ml.config import TrainingConfig
from segmentation.ml.networks.mlp import MultiTaskMLP
from segmentation.ml.networks.tabm import MultiTaskTabM
from segmentation.ml.schema import LearningError


def describe(
    config: TrainingConfig, *, bins: Sequence[Sequence[float]], category_sizes: Sequence[int], outputs: int
) -> dict[str, Any]:
    """Everything a network is built from, JSON-able."""
    described = {
        "network": config.network,
        "bins": [list(row) for row in bins],
        "category_sizes": list(category_sizes),
        "outputs": outputs,
        "hidden": list(config.hidden),
        "dropout": config.dropout,
        "embedding_width": config.embedding_width,
    }
    return described | ({"members": config.ensemble} if config.network == "tabm" else {})


def build(described: Mapping[str, Any]) -> nn.Module:
    networks: dict[str, type[nn.Module]] = {"mlp": MultiTaskMLP, "tabm": MultiTaskTabM}
    values = dict(described)
    name = values.pop("network")
    if name not in networks:
        raise LearningError(f"There is no network called {name}. Choose one of: {', '.join(networks)}.")
    return networks[name](**values)
