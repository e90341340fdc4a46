"""Bytes of model versions: stored in the database in pieces, kept by workers in a cache named by their hash.

The hash of an artifact is the SHA-256 of its manifest: a line "name size sha256" per file, sorted by name.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from segmentation.models import ArtifactChunk, ModelVersion

CHUNK_BYTES = 1024 * 1024


class ArtifactDamaged(Exception):
    """The stored bytes are not those that were registered; nothing is loaded from them."""


def save(version: ModelVersion, directory: Path) -> None:
    """Store every file under `directory`; runs in the transaction that writes the version."""
    for name, path in _files(directory):
        with path.open("rb") as handle:
            number = 0
            while (content := handle.read(CHUNK_BYTES)) or number == 0:
                ArtifactChunk.objects.create(version=version, file_name=name, number=number, content=content)
                number += 1


def delete(version: ModelVersion) -> None:
    """Drop the files for good; the version's row keeps its figures and says when they went."""
    with transaction.atomic():
        ArtifactChunk.objects.filter(version=version).delete()
        ModelVersion.objects.filter(pk=version.pk).update(artifact_deleted_at=Now())
    shutil.rmtree(_cache() / version.artifact_sha256, ignore_errors=True)


def fetch(version: ModelVersion) -> Path:
    """Folder with the version's verified files; raises ArtifactDamaged when the stored rows were altered."""
    place = _cache() / version.artifact_sha256
    if place.is_dir():
        if tree_hash(place) == version.artifact_sha256:
            return place
        shutil.rmtree(place, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=_cache()) as working:
        content = _restore(version, Path(working) / "content")
        if tree_hash(content) != version.artifact_sha256:
            raise ArtifactDamaged(
                _("The stored files of model version %(number)s were changed after training. Train again.")
                % {"number": version.number}
            )
        _publish(content, place)
    return place


def tree_hash(directory: Path) -> str:
    """SHA-256 of the manifest of all files under `directory`."""
    manifest = hashlib.sha256()
    for name, path in _files(directory):
        content = path.read_bytes()
        manifest.update(f"{name} {len(content)} {hashlib.sha256(content).hexdigest()}\n".encode())
    return manifest.hexdigest()


def tree_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for _name, path in _files(directory))


def _restore(version: ModelVersion, target: Path) -> Path:
    target.mkdir()
    chunks = ArtifactChunk.objects.filter(version=version).order_by("file_name", "number")
    for name, number, content in chunks.values_list("file_name", "number", "content").iterator(chunk_size=4):
        path = _inside(target, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb" if number == 0 else "ab") as handle:
            handle.write(content)
    return target


def _inside(directory: Path, name: str) -> Path:
    """A path under `directory`; a stored name must not lead out of it."""
    path = (directory / name).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise ArtifactDamaged(_("A stored file name leads out of its folder: %(name)s.") % {"name": name})
    return path


def _publish(content: Path, place: Path) -> None:
    """Copy, then one rename: a reader never sees half an artifact."""
    staged = Path(tempfile.mkdtemp(dir=place.parent)) / "staged"
    try:
        shutil.copytree(content, staged)
        staged.rename(place)
    except OSError:
        # Another worker published the same bytes first.
        if not place.is_dir():
            raise
    finally:
        shutil.rmtree(staged.parent, ignore_errors=True)


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    """(name relative to the directory, path), sorted by name."""
    paths = (path for path in directory.rglob("*") if path.is_file())
    yield from sorted((path.relative_to(directory).as_posix(), path) for path in paths)


def _cache() -> Path:
    place = Path(settings.VAR_DIR) / "artifacts"
    place.mkdir(parents=True, exist_ok=True)
    return place
