"""Uploaded files between the form and the import: kept under random names that say nothing about a path."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from segmentation import retention, stored_files
from segmentation.imports import Request, presets
from segmentation.models import ImportRun

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".xlsx")
CHOICES = "choices.json"
TOKEN = re.compile(r"[0-9a-f]{32}")


class UploadGone(Exception):
    """The uploaded file is not there (any more)."""


class MappingField(forms.JSONField):
    def prepare_value(self, value: Any) -> Any:
        """Nothing chosen is an empty box, not the word “null”."""
        return "" if value is None else super().prepare_value(value)


class UploadForm(forms.Form):
    file = forms.FileField(
        label=_("File"), widget=UnfoldAdminFileFieldWidget, help_text=_("CSV, CSV.gz, Parquet or XLSX.")
    )
    kind = forms.ChoiceField(
        label=_("What it holds"), choices=ImportRun.Kind.choices, widget=UnfoldAdminSelectWidget
    )
    preset = forms.ChoiceField(
        label=_("Format"),
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=_("A format that is known, or your own mapping below."),
    )
    mapping = MappingField(
        label=_("Your own mapping"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6}),
        help_text=_("JSON that says which column holds what; the user guide describes it."),
    )
    currency = forms.CharField(
        label=_("Currency"),
        required=False,
        max_length=3,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Where the file names none; empty: the shop's."),
    )
    time_zone = forms.CharField(
        label=_("Time zone"),
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Where times carry none, such as Europe/London; empty: the shop's."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = sorted({*presets.EVENTS, *presets.CUSTOMERS})
        choices = [("", _("My own mapping")), *((name, name) for name in names)]
        self.fields["preset"].choices = choices  # type: ignore[attr-defined]

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        if not str(file.name).lower().endswith(SUFFIXES):
            raise ValidationError(_("This type of file cannot be read. Save it as CSV, Parquet or XLSX."))
        return file

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if "mapping" in cleaned and bool(cleaned.get("preset")) == bool(cleaned["mapping"]):
            raise ValidationError(_("Choose a format or give a mapping, one of the two."))
        return cleaned


def keep(form: UploadForm) -> str:
    """Write the file and what was chosen for it; returns the token that names them."""
    retention.prune_local_files()
    token = secrets.token_hex(16)
    folder = _folder(token)
    folder.mkdir(parents=True, mode=0o700)
    data = form.cleaned_data
    file: UploadedFile = data["file"]
    name = re.sub(r"[^\w.-]", "_", Path(str(file.name)).name)[-120:]
    with (folder / name).open("wb") as target:
        for chunk in file.chunks():
            target.write(chunk)
    chosen = {key: data[key] for key in ("kind", "preset", "mapping", "currency", "time_zone")}
    (folder / CHOICES).write_text(json.dumps({**chosen, "file": name}))
    for path in (folder / name, folder / CHOICES):
        stored_files.keep(path)
    return token


def opened(token: str) -> Request:
    """The import as it was asked for. Raises UploadGone."""
    try:
        chosen = json.loads(_located(token, CHOICES).read_text())
    except OSError as error:
        raise UploadGone(_t("The uploaded file is no longer there. Upload it again.")) from error
    path = _located(token, chosen.pop("file"))
    return Request(path=path, **{**chosen, "mapping": chosen["mapping"] or None})


def discard(token: str) -> None:
    """Remove a file that cannot be used."""
    folder = _folder(token)
    stored_files.forget(folder)
    for path in folder.glob("*"):
        path.unlink(missing_ok=True)
    folder.rmdir()


def plain_name(path: Path) -> str:
    return path.name


def _located(token: str, name: str) -> Path:
    """The file on this machine, though another one may have taken the upload."""
    return stored_files.located(stored_files.reference(_folder(token) / name))


def _folder(token: str) -> Path:
    if not TOKEN.fullmatch(token):
        raise UploadGone(_t("The uploaded file is no longer there. Upload it again."))
    return Path(settings.VAR_DIR) / "uploads" / token
