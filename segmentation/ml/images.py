"""A picture as a vector, by any TorchScript file that turns (1, 3, 224, 224) into (1, d): nothing is fetched or unpickled.

TorchScript is read by torch's own reader, which runs no Python. Weights alone are no such file: they do not say
of which network they are, so they are refused; `torch.jit.trace(network, example).save(path)` makes one.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from segmentation.ml.schema import LearningError

SIDE: Final = 224
# Of the pictures that published networks were trained on (ImageNet).
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MOST_BYTES: Final = 20_000_000
MOST_PIXELS: Final = 50_000_000


class NoPicture(LearningError):
    """A picture, or what reads it, that cannot be used; the message says why."""


def name(path: str) -> str:
    """What tells this encoder from any other, by its bytes. Raises NoPicture."""
    place = Path(path)
    if not place.is_file():
        raise NoPicture(f"There is no file {path} that turns pictures into vectors (IMAGE_ENCODER).")
    return _name(place, place.stat().st_mtime_ns)


def encode(content: bytes, path: str) -> np.ndarray:
    """(d,) float16 of length 1. Raises NoPicture."""
    import torch

    from segmentation.ml.threads import one_thread

    name(path)
    pixels = torch.from_numpy(scaled(decoded(content))).unsqueeze(0)
    network = _network(Path(path), Path(path).stat().st_mtime_ns)
    try:
        with one_thread(), torch.inference_mode():
            found = network(pixels)
    except RuntimeError as error:
        raise NoPicture(
            f"The file of IMAGE_ENCODER takes no picture of {SIDE} by {SIDE}: {str(error).splitlines()[-1][:200]}"
        ) from error
    if not torch.is_tensor(found) or found.ndim != 2 or len(found) != 1 or not torch.isfinite(found).all():
        raise NoPicture("The file of IMAGE_ENCODER does not turn a picture into one vector of numbers.")
    vector = found[0].double().numpy()
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float16)


def decoded(content: bytes) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8, the middle of the picture. Raises NoPicture."""
    try:
        from PIL import Image
    except ImportError as error:
        raise NoPicture(
            "Pictures need Pillow, which is not installed here (requirements-text.txt)."
        ) from error
    from io import BytesIO

    if len(content) > MOST_BYTES:
        raise NoPicture(f"A picture may have {MOST_BYTES // 1_000_000} MB.")
    try:
        with Image.open(BytesIO(content), formats=("JPEG", "PNG", "WEBP")) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise NoPicture(f"A picture may have {MOST_PIXELS // 1_000_000} million pixels.")
            side = min(opened.size)
            left, top = (opened.width - side) // 2, (opened.height - side) // 2
            middle = opened.convert("RGB").resize((SIDE, SIDE), box=(left, top, left + side, top + side))
            return np.asarray(middle, dtype=np.uint8)
    except NoPicture:
        raise
    except Exception as error:
        # Readers of broken files fail in many ways, and one that would unpack to gigabytes has an error of its own.
        raise NoPicture("This is no picture that can be read: JPEG, PNG or WebP.") from error


def scaled(pixels: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8 -> (3, SIDE, SIDE) float32."""
    values = (pixels.astype(np.float32) / 255.0 - np.array(MEAN, dtype=np.float32)) / np.array(
        SPREAD, dtype=np.float32
    )
    return np.ascontiguousarray(values.transpose(2, 0, 1))


@lru_cache(maxsize=2)
def _name(place: Path, _changed: int) -> str:
    with place.open("rb") as file:
        return f"{place.stem[:40]}:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


@lru_cache(maxsize=1)
def _network(place: Path, _changed: int) -> Any:
    import torch

    try:
        return torch.jit.load(str(place), map_location="cpu").eval()
    except RuntimeError as error:
        raise NoPicture(
            f"{place.name} is no TorchScript file. Save the network with torch.jit.trace(network, example).save(path)."
        ) from error
