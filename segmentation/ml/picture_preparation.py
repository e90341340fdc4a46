"""How a picture is prepared for a network: the side it is scaled to, and the mean and spread of its colours.

A folder of Hugging Face transformers says so in preprocessor_config.json, or in processor_config.json, which holds it for
networks of pictures and texts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segmentation.ml.schema import LearningError

Colours = tuple[float, float, float]

MOST_SIDE: Final = 2_000
CONFIG, PREPARATION, PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
# By these a config names other files of weights, pickled ones too, or other networks that would be fetched.
LEADS_ELSEWHERE: Final = frozenset(
    {"transformers_weights", "quantization_config", "use_pretrained_backbone", "use_timm_backbone"}
)


class NoPicture(LearningError):
    """A picture, or what reads it, that cannot be used; the message says why."""


class NoNetwork(NoPicture):
    """What reads pictures cannot be used, whatever the picture."""


@dataclass(frozen=True)
class Preparation:
    """Colours between 0 and 1 are taken less `mean`, over `spread`: those of ImageNet, which most networks learned from."""

    side: int = 224
    mean: Colours = (0.485, 0.456, 0.406)
    spread: Colours = (0.229, 0.224, 0.225)


def of_folder(place: Path, config: Any) -> Preparation:
    """What the folder says, else its network's config, else what is usual. Raises NoNetwork."""
    asked = read(place / PREPARATION) or read(place / PROCESSOR).get("image_processor") or {}
    usual = Preparation()
    plain = asked.get("do_normalize") is False
    return Preparation(
        side=_side(_cropped(asked) or _of_config(config) or usual.side),
        mean=(0.0, 0.0, 0.0) if plain else _colours(asked.get("image_mean"), usual.mean),
        spread=(1.0, 1.0, 1.0) if plain else _colours(asked.get("image_std"), usual.spread),
    )


def read(path: Path) -> dict[str, Any]:
    """What a JSON file says; nothing where there is none. Raises NoNetwork."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"), object_hook=_checked)
    except ValueError as error:
        raise NoNetwork(f"{path.name} of IMAGE_ENCODER is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise NoNetwork(f"{path.name} of IMAGE_ENCODER holds no object.")
    return found


def _checked(found: dict[str, Any]) -> dict[str, Any]:
    elsewhere = [key for key in sorted(LEADS_ELSEWHERE) if found.get(key)]
    if elsewhere:
        raise NoNetwork(
            f"A config of IMAGE_ENCODER has {elsewhere[0]}, and model.safetensors alone is opened. "
            "Save the network whole with save_pretrained."
        )
    return found


def _cropped(asked: dict[str, Any]) -> object:
    crop = None if asked.get("do_center_crop") is False else asked.get("crop_size")
    return crop or asked.get("size")


def _of_config(config: Any) -> object:
    own = getattr(config, "image_size", None)
    return own or getattr(getattr(config, "vision_config", None), "image_size", None)


def _side(size: object) -> int:
    """Of 224, [224, 224], {"height": 224, "width": 224} or {"shortest_edge": 224}."""
    if isinstance(size, dict):
        size = [size.get(edge) for edge in ("height", "width", "shortest_edge")]
    edges = [edge for edge in (size if isinstance(size, list | tuple) else [size]) if edge is not None]
    if len(edges) == 0 or any(edge != edges[0] for edge in edges):
        raise NoNetwork("The folder of IMAGE_ENCODER wants pictures that are no squares.")
    if not isinstance(edges[0], int) or not 0 < edges[0] <= MOST_SIDE:
        raise NoNetwork(f"The folder of IMAGE_ENCODER wants pictures of a side that is not 1 to {MOST_SIDE}.")
    return edges[0]


def _colours(values: object, usual: Colours) -> Colours:
    if values is None:
        return usual
    if not isinstance(values, list) or [isinstance(value, int | float) for value in values] != [True] * 3:
        raise NoNetwork(f"{PREPARATION} of IMAGE_ENCODER wants three numbers in image_mean and image_std.")
    return (float(values[0]), float(values[1]), float(values[2]))
