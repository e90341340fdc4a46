"""The form that brings a file in."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from segmentation.imports import ImportProblem, mapping, presets, uploads
from segmentation.models import ImportRun


class MappingField(forms.JSONField):
    def prepare_value(self, value: Any) -> Any:
        """Nothing chosen is an empty box, not the word “null”."""
        return "" if value is None else super().prepare_value(value)

    def to_python(self, value: Any) -> Any:
        """None where nothing was typed."""
        try:
            return mapping.from_text(value) if value not in self.empty_values else None
        except ImportProblem as problem:
            raise ValidationError(str(problem)) from problem


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
        if not uploads.can_be_read(str(file.name)):
            raise ValidationError(_("This type of file cannot be read. Save it as CSV, Parquet or XLSX."))
        return file

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if "mapping" in cleaned and bool(cleaned.get("preset")) == bool(cleaned["mapping"]):
            raise ValidationError(_("Choose a format or give a mapping, one of the two."))
        return cleaned
