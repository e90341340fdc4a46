"""State on disk without code in it: JSON for structure, safetensors for numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from segmentation.ml.schema import LearningError

Tensors = Mapping[str, np.ndarray]


class ArtifactError(LearningError):
    """An artifact that cannot be trusted or read."""


def write_json(path: Path, data: Any) -> None:
    path.write_bytes(orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")


def read_json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactError(f"The model artifact has no file {path.name}. Train the model again.") from error
    except orjson.JSONDecodeError as error:
        raise ArtifactError(f"The file {path.name} of the model artifact is not JSON: {error}.") from error


def write_tensors(path: Path, tensors: Tensors) -> None:
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"The model artifact has no file {path.name}. Train the model again.") from error
    except SafetensorError as error:
        raise ArtifactError(f"The file {path.name} of the model artifact cannot be read: {error}.") from error


def with_prefix(prefix: str, tensors: Tensors) -> dict[str, np.ndarray]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: Tensors) -> dict[str, np.ndarray]:
    start = f"{prefix}."
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}
