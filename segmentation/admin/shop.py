"""The shop itself and its exchange rates."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from segmentation.admin.base import HouseAdmin
from segmentation.models import ExchangeRate, Shop


@admin.register(Shop)
class ShopAdmin(HouseAdmin):
    """One row: the list leads straight to it."""

    fields = (
        "name",
        "base_currency",
        "time_zone",
        "season_start_month",
        "profiling_basis",
        "join_guests_by_email",
        "retrain_after_erasure_days",
        "frozen_on",
    )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            return super().changelist_view(request, extra_context)
        return HttpResponseRedirect(self.url("change", Shop.get().pk))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(ExchangeRate)
class ExchangeRateAdmin(HouseAdmin):
    list_display = ("day", "currency", "rate")
    list_filter = ("currency",)
    ordering = ("-day", "currency")
