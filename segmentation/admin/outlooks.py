"""Demand outlooks: ask for one, read it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from segmentation.admin.base import View, post_only
from segmentation.admin.worked_out import WorkedOutAdmin
from segmentation.dashboard import outlook_page
from segmentation.demand import outlooks
from segmentation.models import DemandOutlook


@admin.register(DemandOutlook)
class DemandOutlookAdmin(WorkedOutAdmin):
    list_display = ("asked", "ahead", "state_badge", "requested_by")
    list_before_template = "tierwise/outlook_buttons.html"
    page_template = "tierwise/outlook.html"
    page_title = _("Demand outlook")

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [("ask/", self.ask_view, "ask"), *super().extra_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {**(extra_context or {}), "horizons": outlooks.HORIZONS})

    @admin.display(description=_("looks ahead"), ordering="weeks")
    def ahead(self, row: DemandOutlook) -> str:
        return ngettext("%(weeks)s week", "%(weeks)s weeks", row.weeks) % {"weeks": row.weeks}

    @post_only("segmentation.add_demandoutlook")
    def ask_view(self, request: HttpRequest) -> HttpResponse:
        """POST weeks=…: one of the horizons."""
        asked = request.POST.get("weeks", "")
        if asked not in map(str, outlooks.HORIZONS):
            self.refuse(request, _t("Choose how many weeks to look ahead."))
            return HttpResponseRedirect(self.url("changelist"))
        return self.back_to(outlooks.ask(int(asked), by=request.user))

    def answer(self, request: HttpRequest, row: DemandOutlook) -> dict[str, Any]:
        return {"horizons": outlooks.HORIZONS, **outlook_page.context(row)}
