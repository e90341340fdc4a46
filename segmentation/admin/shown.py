"""Refuses an edit that somebody else overtook, where the row does not count its edits: by the values it showed."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django import forms
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from segmentation.admin.base import HouseAdmin
from segmentation.admin.editing import OVERTAKEN

MARK_CHARS: Final = 16


class SeenField(forms.CharField):
    """What the page showed; no value of the row, so no edit of it."""

    widget = forms.HiddenInput

    def has_changed(self, initial: Any, data: Any) -> bool:
        return False


class ShownForm(forms.ModelForm):
    """Refused when a value that it edits is no longer the one that the page showed. For the pages of a ShownAdmin.

    `seen` has a keyed digest for each value, as the values themselves may be secret. What the form does not edit does
    not count, so that workers never stand in the way of staff.
    """

    # Fields that workers write as well: where the person left one as it was, what the worker wrote stays.
    background: ClassVar[frozenset[str]] = frozenset()
    # Columns that the form writes but does not show.
    hidden: ClassVar[tuple[str, ...]] = ()

    seen = SeenField(required=False, label="")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "seen" in self.fields:
            # Asked for when the page is drawn: a form may fill in more until then.
            self.fields["seen"].initial = self._all_marks

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        shown = dict(part.split("=", 1) for part in cleaned.get("seen", "").split() if "=" in part)
        now = self._marks()
        overtaken = {name for name in now.keys() & shown.keys() if now[name] != shown[name]}
        for name in overtaken & self.background:
            if self._mark(name, cleaned.get(name)) == shown[name]:
                cleaned[name] = self.get_initial_for_field(self.fields[name], name)
                overtaken.remove(name)
        if overtaken:
            raise ValidationError(OVERTAKEN)
        return cleaned

    def _all_marks(self) -> str:
        return " ".join(f"{name}={mark}" for name, mark in self._marks().items())

    def _marks(self) -> dict[str, str]:
        """Of the row as it is stored now, by field; none of a row that is yet to be made."""
        if self.instance.pk is None:
            return {}
        edited = {
            name: self.get_initial_for_field(field, name)
            for name, field in self.fields.items()
            if name != "seen" and not field.disabled
        }
        unseen = {name: getattr(self.instance, name) for name in self.hidden}
        return {name: self._mark(name, value) for name, value in {**edited, **unseen}.items()}

    def _mark(self, name: str, value: Any) -> str:
        field = self.fields.get(name)
        told = field.prepare_value(value) if field is not None else value
        # The order in which many rows of a choice come is no difference.
        text = str(sorted(map(str, told)) if isinstance(told, list | tuple) else told)
        whose = f"{type(self.instance)._meta.label_lower}.{self.instance.pk}.{name}"
        return salted_hmac("tierwise.shown", f"{whose}={text}").hexdigest()[:MARK_CHARS]


def with_seen(sets: Any) -> Any:
    """These fieldsets, and `seen` in the first of them."""
    if "seen" in flatten_fieldsets(sets):
        return sets
    (title, options), *others = sets
    return [(title, {**options, "fields": (*options["fields"], "seen")}), *others]


class ShownAdmin(HouseAdmin):
    """The page of a row whose form is a ShownForm; rows inside the page are not compared."""

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        sets = super().get_fieldsets(request, obj)
        return with_seen(sets) if obj is not None else sets

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """An edit reads its row when nobody else may write it: what it compares is what it saves over.

        Whatever only refers to the row, such as a message of a connection, need not wait.
        """
        if request.method != "POST" or object_id is None:
            return super().changeform_view(request, object_id, form_url, extra_context)
        with transaction.atomic():
            rows = self.model._default_manager.select_for_update(no_key=True)
            rows.filter(pk=unquote(object_id)).values_list("pk").first()
            return super().changeform_view(request, object_id, form_url, extra_context)
