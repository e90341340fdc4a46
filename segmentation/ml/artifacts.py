"""A fitted estimator as a folder of safetensors, JSON and LightGBM text, sealed by a manifest of hashes.

`manifest.json` names the format, the estimator and the SHA-256 of every file; a folder with a changed, added
or missing file, or with a format this version does not know, is refused before anything in it is read.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Self

from segmentation.ml import storage
from segmentation.ml.config import TrainingConfig
from segmentation.ml.families import FAMILIES
from segmentation.ml.schema import Column, Estimator, LearningError, Target
from segmentation.ml.storage import ArtifactError

FORMAT = 1
MANIFEST = "manifest.json"
SUFFIXES = (".json", ".safetensors", ".txt")
LIBRARIES = ("numpy", "torch", "lightgbm", "scikit-learn", "polars", "tabm", "rtdl-num-embeddings")

# Module and class, imported on use: choosing a name must not cost the import of torch.
ESTIMATORS: dict[str, tuple[str, str]] = {
    "btyd": ("segmentation.ml.btyd_estimator", "BTYDEstimator"),
    "logistic": ("segmentation.ml.classical", "LogisticEstimator"),
    "rfm": ("segmentation.ml.rfm", "RFMEstimator"),
    "linear_svm": ("segmentation.ml.svm", "LinearSVMEstimator"),
    "rbf_svm": ("segmentation.ml.svm", "RBFSVMEstimator"),
    "decision_tree": ("segmentation.ml.trees", "DecisionTreeEstimator"),
    "random_forest": ("segmentation.ml.trees", "RandomForestEstimator"),
    "lightgbm": ("segmentation.ml.boosting", "LightGBMEstimator"),
    "mlp": ("segmentation.ml.neural", "NeuralEstimator"),
    "clusters": ("segmentation.ml.clustering", "ClusterEstimator"),
    "anomaly": ("segmentation.ml.anomaly", "AnomalyEstimator"),
    "t_learner": ("segmentation.ml.effects.learners", "TLearner"),
    "x_learner": ("segmentation.ml.effects.learners", "XLearner"),
    "class_transformation": ("segmentation.ml.effects.learners", "ClassTransformation"),
    "two_head": ("segmentation.ml.effects.network", "TwoHeadEstimator"),
    "blend": ("segmentation.ml.blend", "Blend"),
    "voting": ("segmentation.ml.combine", "Voting"),
    "stacking": ("segmentation.ml.combine", "Stacking"),
    "served": ("segmentation.ml.served", "ServedModel"),
}
COMBINED = ("blend", "voting", "stacking", "served")


@dataclass(frozen=True)
class Manifest:
    """files: path below the folder, with forward slashes -> SHA-256 in hexadecimal."""

    estimator: str
    files: Mapping[str, str]
    libraries: Mapping[str, str]
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        return {
            "format": self.format,
            "estimator": self.estimator,
            "files": dict(sorted(self.files.items())),
            "libraries": dict(self.libraries),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        if not isinstance(data, Mapping):
            raise ArtifactError("The manifest of the model artifact is not a JSON object.")
        if data.get("format") != FORMAT:
            raise ArtifactError(
                f"The model artifact has format {data.get('format')}, this version reads format {FORMAT}. "
                "Train the model again or install the version that wrote it."
            )
        return cls(estimator=data["estimator"], files=data["files"], libraries=data["libraries"])


def create(
    name: str,
    *,
    targets: Sequence[Target],
    columns: Sequence[Column],
    config: TrainingConfig | None = None,
) -> Estimator:
    """A new, unfitted estimator by name, of an estimator or of an algorithm (families.py)."""
    if name in COMBINED:
        raise LearningError(f"A {name} model is built from fitted members, not created by name.")
    made = FAMILIES[name].estimator if name in FAMILIES else name
    return _class(made)(targets=targets, columns=columns, config=config)


def save(estimator: Estimator, directory: Path) -> Manifest:
    """Write and seal `directory`, which must not exist or be empty."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise ArtifactError(f"The artifact folder {directory.name} is not empty. Choose a new one.")
    estimator.save(directory)
    manifest = Manifest(
        estimator=estimator.name,
        files={name: _sha256(directory / name) for name in _names(directory)},
        libraries=_libraries(),
    )
    storage.write_json(directory / MANIFEST, manifest.to_json())
    return manifest


def load(directory: Path) -> Estimator:
    """Verify every file, then read the estimator."""
    manifest = verify(directory)
    return _class(manifest.estimator).load(directory)


def verify(directory: Path) -> Manifest:
    """The manifest of a folder that holds exactly the files it names, unchanged."""
    manifest = Manifest.from_json(storage.read_json(directory / MANIFEST))
    found = set(_names(directory)) - {MANIFEST}
    for name in sorted(found | set(manifest.files)):
        _check_name(name)
        if name not in manifest.files:
            raise ArtifactError(f"The model artifact holds a file its manifest does not name: {name}.")
        if name not in found:
            raise ArtifactError(f"The model artifact lacks the file {name}. Train the model again.")
        if _sha256(directory / name) != manifest.files[name]:
            raise ArtifactError(f"The file {name} of the model artifact was changed after it was written.")
    return manifest


@lru_cache(maxsize=1)
def _libraries() -> Mapping[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def _class(name: str) -> Any:
    if name not in ESTIMATORS:
        raise LearningError(f"There is no estimator called {name}. Choose one of: {', '.join(ESTIMATORS)}.")
    module, attribute = ESTIMATORS[name]
    return getattr(import_module(module), attribute)


def _names(directory: Path) -> list[str]:
    return sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if not p.is_dir())


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ArtifactError(f"The model artifact names a file outside its folder: {name}.")
    if path.suffix not in SUFFIXES:
        raise ArtifactError(
            f"The model artifact holds {name}. Only {', '.join(SUFFIXES)} files are read: other formats, "
            "pickle above all, can run code."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
