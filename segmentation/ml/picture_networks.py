"""A network for pictures from a folder in the format of Hugging Face transformers: config.json beside model.safetensors.

Needs the extra of requirements-text.txt. Nothing is fetched, no code of the folder is run, and weights are read from
safetensors alone. preprocessor_config.json, where there is one, says how pictures are prepared.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from segmentation.ml import picture_preparation
from segmentation.ml.picture_preparation import CONFIG, PREPARATION, PROCESSOR, NoNetwork, Preparation

WEIGHTS: Final = "model.safetensors"


@dataclass(frozen=True)
class Network:
    """answer: (1, 3, side, side) float32, prepared → (1, d)."""

    answer: Callable[[Any], Any]
    preparation: Preparation


def name(place: Path) -> str:
    """What tells this folder from any other, by its weights and configs. Raises NoNetwork."""
    return _name(place, _files(place))


def opened(place: Path) -> Network:
    """Raises NoNetwork."""
    return _opened(place, _files(place))


def _files(place: Path) -> tuple[tuple[Path, int], ...]:
    """What the network is made of, and when each was changed."""
    if find_spec("transformers") is None:
        raise NoNetwork(
            "IMAGE_ENCODER is a folder, and transformers, which reads it, is not installed here (requirements-text.txt)."
        )
    for lacking in (CONFIG, WEIGHTS):
        if not (place / lacking).is_file():
            raise NoNetwork(
                f"{place.name} has no {lacking}, and pickled weights are not opened. "
                "Save the network of transformers with network.save_pretrained(folder)."
            )
    if (place / "adapter_config.json").exists():
        raise NoNetwork(
            f"{place.name} holds an adapter: merge it into its network, and save that with save_pretrained."
        )
    configs = [place / known for known in (CONFIG, PREPARATION, PROCESSOR)]
    found = [path for path in configs if path.is_file()] + sorted(place.glob("*.safetensors"))
    return tuple((path, path.stat().st_mtime_ns) for path in found)


@lru_cache(maxsize=2)
def _name(place: Path, files: tuple[tuple[Path, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _changed in files:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return f"{place.name[:40]}:{digest.hexdigest()[:16]}"


@lru_cache(maxsize=1)
def _opened(place: Path, _files: tuple[tuple[Path, int], ...]) -> Network:
    picture_preparation.read(place / CONFIG)
    network, pooled = _loaded(place)
    found = Network(
        lambda pixels: _vector(network, pixels, pooled), picture_preparation.of_folder(place, network.config)
    )
    _tried(found, place)
    return found


def _loaded(place: Path) -> tuple[Any, bool]:
    """The network, and whether its own pooling has weights: what a folder lacks is made up by chance, anew each time."""
    # Read by the libraries when they are imported: a missing file is an error then, not a download.
    for setting, value in (
        ("HF_HUB_OFFLINE", "1"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("TRANSFORMERS_VERBOSITY", "error"),
    ):
        os.environ.setdefault(setting, value)
    try:
        from transformers import AutoModel

        network, told = AutoModel.from_pretrained(
            str(place.resolve()),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            # Else a config may ask for kernels of somebody else.
            attn_implementation="eager",
            output_loading_info=True,
        )
    except Exception as error:
        # A folder can be wrong in as many ways as there are networks.
        raise NoNetwork(
            f"transformers does not open {place.name}, from which no code is run: {first_line(error)}"
        ) from error
    lacking = sorted(told["missing_keys"])
    optional = not hasattr(network, "get_image_features") and all(
        "pooler" in key.split(".") for key in lacking
    )
    if lacking and not optional:
        raise NoNetwork(
            f"{place.name} lacks weights of its network, {lacking[0]} among them: save it with save_pretrained."
        )
    # Weights may be halves, which processors are slow with or cannot do.
    return network.eval().float(), not lacking


def _vector(network: Any, pixels: Any, pooled: bool) -> Any:
    """(1, 3, side, side) → (1, d): what is compared with texts, else what the network pools, else a mean over places."""
    import torch

    if hasattr(network, "get_image_features"):
        features = network.get_image_features(pixel_values=pixels)
        return features if torch.is_tensor(features) else features.pooler_output
    found = network(pixel_values=pixels)
    own = getattr(found, "pooler_output", None) if pooled else None
    if own is not None:
        return own.flatten(1)
    last = found.last_hidden_state
    return last.mean(dim=(2, 3)) if last.ndim == 4 else last.mean(dim=1)


def _tried(network: Network, place: Path) -> None:
    """Some networks for training hide parts of each picture by chance; their vectors would say nothing of likeness."""
    import torch

    side = network.preparation.side
    pixels = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            same = torch.allclose(network.answer(pixels), network.answer(pixels), equal_nan=True)
    except Exception as error:
        # As above: networks for texts or sounds fail in ways of their own.
        raise NoNetwork(
            f"{place.name} turns no picture of {side} by {side} into a vector: {first_line(error)}"
        ) from error
    if not same:
        raise NoNetwork(f"{place.name} answers the same picture in different ways: take another network.")


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
