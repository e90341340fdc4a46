"""A picture as a vector, by a TorchScript file, (1, 3, 224, 224) in and (1, d) out, or by a folder (picture_networks.py).

Nothing is fetched or unpickled. TorchScript is read by torch's own reader, which runs no Python. A file of weights alone
does not say of which network they are, so it is refused.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from segmentation.ml import picture_networks
from segmentation.ml.picture_networks import Network
from segmentation.ml.picture_preparation import NoNetwork, NoPicture, Preparation

MOST_BYTES: Final = 20_000_000
MOST_PIXELS: Final = 50_000_000


def name(path: str) -> str:
    """What tells this encoder from any other, by its bytes. Raises NoNetwork."""
    place = Path(path)
    if place.is_dir():
        return picture_networks.name(place)
    if not place.is_file():
        raise NoNetwork(
            f"There is no file or folder {path} that turns pictures into vectors (IMAGE_ENCODER)."
        )
    if place.suffix == ".safetensors":
        raise NoNetwork(
            f"{place.name} holds weights and does not say of which network: name its folder, which has config.json too."
        )
    return _name(place, place.stat().st_mtime_ns)


def encode(content: bytes, path: str) -> np.ndarray:
    """(d,) float16 of length 1. Raises NoPicture, and NoNetwork where no picture can be encoded."""
    import torch

    from segmentation.ml.threads import one_thread

    name(path)
    place = Path(path)
    network = picture_networks.opened(place) if place.is_dir() else _opened(place, place.stat().st_mtime_ns)
    wanted = network.preparation
    pixels = torch.from_numpy(scaled(decoded(content, wanted.side), wanted)).unsqueeze(0)
    try:
        with one_thread(), torch.inference_mode():
            found = network.answer(pixels)
    except RuntimeError as error:
        raise NoPicture(
            f"IMAGE_ENCODER takes no picture of {wanted.side} by {wanted.side}: {str(error).splitlines()[-1][:200]}"
        ) from error
    if not torch.is_tensor(found) or found.ndim != 2 or len(found) != 1 or not torch.isfinite(found).all():
        raise NoPicture("IMAGE_ENCODER does not turn a picture into one vector of numbers.")
    vector = found[0].double().numpy()
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float16)


def decoded(content: bytes, size: int) -> np.ndarray:
    """(size, size, 3) uint8, the middle of the picture. Raises NoPicture."""
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
            middle = opened.convert("RGB").resize((size, size), box=(left, top, left + side, top + side))
            return np.asarray(middle, dtype=np.uint8)
    except NoPicture:
        raise
    except Exception as error:
        # Readers of broken files fail in many ways, and one that would unpack to gigabytes has an error of its own.
        raise NoPicture("This is no picture that can be read: JPEG, PNG or WebP.") from error


def scaled(pixels: np.ndarray, wanted: Preparation) -> np.ndarray:
    """(side, side, 3) uint8 -> (3, side, side) float32."""
    mean, spread = np.array(wanted.mean, dtype=np.float32), np.array(wanted.spread, dtype=np.float32)
    values = (pixels.astype(np.float32) / 255.0 - mean) / spread
    return np.ascontiguousarray(values.transpose(2, 0, 1))


@lru_cache(maxsize=2)
def _name(place: Path, _changed: int) -> str:
    with place.open("rb") as file:
        return f"{place.stem[:40]}:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


@lru_cache(maxsize=1)
def _opened(place: Path, _changed: int) -> Network:
    import torch

    try:
        return Network(torch.jit.load(str(place), map_location="cpu").eval(), Preparation())
    except RuntimeError as error:
        raise NoNetwork(
            f"{place.name} is no TorchScript file, and pickles are not opened. Save the network with "
            "torch.jit.trace(network, example).save(path), or one of transformers with network.save_pretrained(folder), "
            "and name that in IMAGE_ENCODER."
        ) from error
