"""Maps of customers: ask for one, look at it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.utils.translation import gettext_lazy as _

from segmentation import maps
from segmentation.admin.base import View, post_only
from segmentation.admin.worked_out import WorkedOutAdmin
from segmentation.dashboard import map_page
from segmentation.models import CustomerMap


@admin.register(CustomerMap)
class CustomerMapAdmin(WorkedOutAdmin):
    list_display = ("asked", "method", "state_badge", "requested_by")
    list_before_template = "tierwise/map_buttons.html"
    page_template = "tierwise/map.html"
    page_title = _("Map of customers")

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [("draw/<slug:method>/", self.draw_view, "draw"), *super().extra_urls()]

    @post_only("segmentation.add_customermap")
    def draw_view(self, request: HttpRequest, method: str) -> HttpResponse:
        if method not in CustomerMap.Method.values:
            return HttpResponseBadRequest()
        return self.back_to(maps.ask(method, by=request.user))

    def answer(self, request: HttpRequest, row: CustomerMap) -> dict[str, Any]:
        known = map_page.choices(row.result) if row.result else []
        by = request.GET.get("by", "")
        by = by if by in dict(known) else map_page.TIER
        return {
            "result": row.result,
            "choices": known,
            "by": by,
            "chart": map_page.chart(row, by) if row.result else None,
        }
