"""Who did what; read only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from segmentation.admin.base import ReadOnlyAdmin
from segmentation.dashboard import words
from segmentation.models import AuditEntry

DETAIL_CHARS = 160


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("when", "actor", "action", "object_type", "object_id", "details")
    list_select_related = ("actor",)
    # Exact, as written: an index answers each (the entries are never deleted).
    search_fields = ("object_id__exact", "action__exact", "object_type__exact")
    search_help_text = _(
        "An id, an action such as “promoted”, or a kind of object such as segmentation.segment"
    )
    sortable_by = ("when",)
    ordering = ("-id",)

    @admin.display(description=_("when"), ordering="id")
    def when(self, entry: AuditEntry) -> SafeString:
        return format_html('<span class="tw-nowrap">{}</span>', words.moment(entry.at))

    @admin.display(description=_("details"))
    def details(self, entry: AuditEntry) -> SafeString:
        """“target: churn · new: 5”; what is long is cut, and whole in the tooltip."""
        said = " · ".join(f"{name}: {_said(value)}" for name, value in entry.detail.items())
        shown = Truncator(said).chars(DETAIL_CHARS)
        return format_html(
            '<span class="tw-label" title="{}">{}</span>', said if shown != said else "", shown
        )


def _said(value: Any) -> str:
    return ", ".join(map(_said, value)) if isinstance(value, list) else words.plain(value)
