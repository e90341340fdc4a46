"""Uploaded files between whoever brought them and the import: kept under random names that say nothing about a path."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _

from segmentation import retention, stored_files
from segmentation.imports.plan import Request

SUFFIXES: Final = (".csv", ".csv.gz", ".parquet", ".xlsx")
# What may be chosen for a file: fields of Request.
CHOSEN: Final = ("kind", "preset", "mapping", "currency", "time_zone")
_CHOICES: Final = "choices.json"
_TOKEN: Final = re.compile(r"[0-9a-f]{32}")


class UploadGone(Exception):
    """The uploaded file is not there (any more)."""


def can_be_read(name: str) -> bool:
    """Whether files of this name are of a type that imports read."""
    return name.lower().endswith(SUFFIXES)


def keep(file: UploadedFile, chosen: Mapping[str, Any]) -> str:
    """Write the file and what was chosen for it (CHOSEN); returns the token that names them."""
    retention.prune_local_files()
    token = secrets.token_hex(16)
    folder = _folder(token)
    folder.mkdir(parents=True, mode=0o700)
    name = re.sub(r"[^\w.-]", "_", Path(str(file.name)).name)[-120:]
    with (folder / name).open("wb") as target:
        for chunk in file.chunks():
            target.write(chunk)
    (folder / _CHOICES).write_text(json.dumps({**{key: chosen[key] for key in CHOSEN}, "file": name}))
    for path in (folder / name, folder / _CHOICES):
        stored_files.keep(path)
    return token


def opened(token: str) -> Request:
    """The import as it was asked for. Raises UploadGone."""
    try:
        chosen = json.loads(_located(token, _CHOICES).read_text())
    except OSError as error:
        raise UploadGone(_gone()) from error
    path = _located(token, chosen.pop("file"))
    return Request(path=path, **{**chosen, "mapping": chosen["mapping"] or None})


def discard(token: str) -> None:
    """Remove a file that cannot be used."""
    folder = _folder(token)
    stored_files.forget(folder)
    for path in folder.glob("*"):
        path.unlink(missing_ok=True)
    folder.rmdir()


def _located(token: str, name: str) -> Path:
    """The file on this machine, though another one may have taken the upload."""
    return stored_files.located(stored_files.reference(_folder(token) / name))


def _folder(token: str) -> Path:
    if not _TOKEN.fullmatch(token):
        raise UploadGone(_gone())
    return Path(settings.VAR_DIR) / "uploads" / token


def _gone() -> str:
    return _("The uploaded file is no longer there. Upload it again.")
