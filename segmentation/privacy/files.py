"""Stored uploads and lists of rejected lines: those that name a person go before their week is over."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.conf import settings

from segmentation import crypto, stored_files
from segmentation.imports.plan import default_rejects
from segmentation.models import ImportRun, LeaseState, StoredFileChunk
from segmentation.privacy.marks import Marks
from segmentation.retention import FILE_FOLDERS

BLOCK = 1024 * 1024
# A name may lie across two blocks.
OVERLAP = 400
GZIP = 31
TEXTS = (".csv", ".json", ".csv.gz")


def forget(marks: Marks) -> int:
    """Delete the files of this machine and of the database that name the person; returns how many.

    Text is searched; what would have to be taken apart first (Parquet, XLSX) goes without a look: an import that is
    over needs its file no more. Files that an import still waits for stay until their week is over.
    """
    needed = _needed()
    found = {*_local(), *_stored()}
    doomed = {name for name in found if not needed & {name, str(Path(name).parent)} and _names(name, marks)}
    for name in doomed:
        _delete(name)
    return len(doomed)


def _needed() -> set[str]:
    """What imports that are not over read and write: the folders of their uploads, their lists of rejected lines."""
    waiting = ImportRun.objects.filter(state__in=[LeaseState.QUEUED, LeaseState.RUNNING])
    needed = set()
    for run in waiting:
        needed.add(str(Path(str(run.mapping.get("file", "")).removeprefix(stored_files.INSIDE)).parent))
        needed.add(default_rejects(run).relative_to(settings.VAR_DIR).as_posix())
    return needed


def _folder() -> Path:
    return Path(settings.VAR_DIR).resolve()


def _local() -> Iterator[str]:
    for folder in FILE_FOLDERS:
        for path in (_folder() / folder).rglob("*"):
            if path.is_file():
                yield path.relative_to(_folder()).as_posix()


def _stored() -> list[str]:
    return list(StoredFileChunk.objects.order_by().values_list("name", flat=True).distinct())


def _names(name: str, marks: Marks) -> bool:
    if not name.endswith(TEXTS):
        return True
    blocks = _blocks(name)
    return any(marks.in_text(text) for text in _texts(_unzipped(blocks) if name.endswith(".gz") else blocks))


def _blocks(name: str) -> Iterator[bytes]:
    path = _folder() / name
    if path.is_file():
        with path.open("rb") as file:
            yield from iter(lambda: file.read(BLOCK), b"")
        return
    chunks = StoredFileChunk.objects.filter(name=name).order_by("number").values_list("content", flat=True)
    for content in chunks.iterator(chunk_size=4):
        yield crypto.decrypt(bytes(content))


def _unzipped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """What can be read of a gzip file; one that is broken is taken for what was read so far."""
    reader = zlib.decompressobj(GZIP)
    try:
        for block in blocks:
            while block:
                yield reader.decompress(block, BLOCK)
                block = reader.unconsumed_tail
    except zlib.error:
        return


def _texts(blocks: Iterable[bytes]) -> Iterator[str]:
    tail = b""
    for block in blocks:
        whole = tail + block
        yield whole.decode("utf-8", "replace")
        tail = whole[-OVERLAP:]


def _delete(name: str) -> None:
    """An upload is a folder of its own: the file goes with what was chosen for it."""
    path = _folder() / name
    if name.count("/") > 1:
        stored_files.forget(path.parent)
        shutil.rmtree(path.parent, ignore_errors=True)
    else:
        StoredFileChunk.objects.filter(name=name).delete()
        path.unlink(missing_ok=True)
