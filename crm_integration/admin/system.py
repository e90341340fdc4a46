"""System health: the list of background processes is a page of its own kind."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _t

from crm_integration.admin import system_page
from segmentation.admin.base import ReadOnlyAdmin, View, requires
from segmentation.models import WorkerProcess

VIEW = "segmentation.view_workerprocess"


@admin.register(WorkerProcess)
class WorkerProcessAdmin(ReadOnlyAdmin):
    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [("now/", self.now_view, "now")]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        requires(request, VIEW)
        return self.page(
            request,
            "crm_integration/system.html",
            title=_t("System health"),
            health=system_page.build(),
        )

    def now_view(self, request: HttpRequest) -> HttpResponse:
        """The same for the open page, every few seconds."""
        requires(request, VIEW)
        return render(request, "crm_integration/system_now.html", {"health": system_page.build()})
