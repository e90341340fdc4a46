"""Graphics cards that are not there, or that fall away while a network learns on them."""

from __future__ import annotations

from typing import Final

SIGNS: Final = (
    "cuda error",
    "cudnn error",
    "no cuda gpus",
    "no nvidia driver",
    "not compiled with cuda",
    "invalid device ordinal",
)


def is_lost(error: BaseException) -> bool:
    """Whether torch says that the card itself is out of reach; one that is full is still there (ml/trainer.py)."""
    text = str(error).lower()
    return "out of memory" not in text and any(sign in text for sign in SIGNS)
