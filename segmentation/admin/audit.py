"""Who did what; read only."""

from __future__ import annotations

import json

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from segmentation.admin.base import ReadOnlyAdmin
from segmentation.models import AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor", "action", "object_type", "object_id", "details")
    list_select_related = ("actor",)
    search_fields = ("=object_id", "=action", "=object_type")
    search_help_text = _(
        "An id, an action such as “promoted”, or a kind of object such as segmentation.segment"
    )
    ordering = ("-id",)

    @admin.display(description=_("details"))
    def details(self, entry: AuditEntry) -> SafeString:
        return format_html(
            "<code>{}</code>", json.dumps(entry.detail, ensure_ascii=False) if entry.detail else ""
        )
