"""Tensors and a JSON description as one safetensors file in memory: no code in it, and no disk needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from segmentation.ml.storage import ArtifactError

ABOUT = "about"


def pack(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> bytes:
    described = torch.frombuffer(bytearray(orjson.dumps(about)), dtype=torch.uint8)
    # Safetensors refuses two names for one piece of memory; a state has its best weights twice after a good epoch.
    own = {name: value.detach().to("cpu").contiguous().clone() for name, value in tensors.items()}
    return save({**own, ABOUT: described})


def unpack(content: bytes, *, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        tensors = load(content)
        about = orjson.loads(bytes(tensors.pop(ABOUT).numpy().tobytes()))
    except (SafetensorError, KeyError, orjson.JSONDecodeError) as error:
        raise ArtifactError("A state of an interrupted training cannot be read.") from error
    return {name: value.to(device) for name, value in tensors.items()}, about
