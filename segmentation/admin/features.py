"""The catalogue of features, shop-wide numbers, and the customers that wait to be rescored."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _t

from segmentation.admin.base import ReadOnlyAdmin, requires
from segmentation.models import DueCustomer, FeaturePortrait, ShopContext


@admin.register(FeaturePortrait)
class FeaturePortraitAdmin(ReadOnlyAdmin):
    """One page in place of a list: what a worker has drawn, never a look at the customers themselves."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        from segmentation.dashboard import catalogue_page

        requires(request, "segmentation.view_featureportrait")
        portrait = FeaturePortrait.objects.order_by("-pk").first()
        return self.page(
            request,
            "tierwise/catalogue.html",
            title=_t("Features"),
            portrait=portrait,
            families=catalogue_page.families(portrait),
        )


@admin.register(ShopContext)
class ShopContextAdmin(ReadOnlyAdmin):
    list_display = ("as_of", "catalogue_version", "created_at")
    ordering = ("-as_of", "-id")


@admin.register(DueCustomer)
class DueCustomerAdmin(ReadOnlyAdmin):
    list_display = ("customer", "cause", "state", "attempts", "created_at", "error")
    list_select_related = ("customer",)
    list_filter = ("state",)
    sortable_by = ()
    ordering = ("id",)
