"""Weights in eight bits: a row of a matrix as whole numbers from -127 to 127 times one scale.

Weights alone are shortened, and are whole floats again before they are used. Activations are not: their scale would be
that of a batch, and a customer's answer would depend on who is scored beside them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

LEVELS = 127
SCALE = ".scale"


def rounded(network: nn.Module) -> nn.Module:
    """A copy whose matrices hold only what eight bits can."""
    made = copy.deepcopy(network)
    state = made.state_dict()
    made.load_state_dict({name: torch.tensor(_back(*_short(v.numpy()))) if _is_matrix(v.numpy()) else v
                          for name, v in state.items()})  # fmt: skip
    return made.eval()


def stored(network: nn.Module, *, small: bool) -> dict[str, np.ndarray]:
    """The weights as they are kept: whole, or matrices as int8 with their scales beside them."""
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    if not small:
        return weights
    kept: dict[str, np.ndarray] = {}
    for name, value in weights.items():
        if _is_matrix(value):
            kept[name], kept[name + SCALE] = _short(value)
        else:
            kept[name] = value
    return kept


def read(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `stored`."""
    return {
        name: _back(value, tensors[name + SCALE]) if name + SCALE in tensors else value
        for name, value in tensors.items()
        if not (name.endswith(SCALE) and name[: -len(SCALE)] in tensors)
    }


def _is_matrix(value: np.ndarray) -> bool:
    return value.ndim >= 2 and value.dtype == np.float32 and value.size >= 256


def _short(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, ...) -> int8 of the same shape and one float32 scale a row."""
    rows = value.reshape(len(value), -1)
    scale = np.abs(rows).max(axis=1) / LEVELS
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    return np.rint(rows / scale[:, None]).astype(np.int8).reshape(value.shape), scale


def _back(short: np.ndarray, scale: np.ndarray) -> np.ndarray:
    shape = (len(scale),) + (1,) * (short.ndim - 1)
    return np.asarray(short.astype(np.float32) * scale.reshape(shape))
