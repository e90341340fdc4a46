"""Shop-wide numbers and the customers that wait to be rescored."""

from __future__ import annotations

from django.contrib import admin

from segmentation.admin.base import ReadOnlyAdmin
from segmentation.models import DueCustomer, ShopContext


@admin.register(ShopContext)
class ShopContextAdmin(ReadOnlyAdmin):
    list_display = ("as_of", "catalogue_version", "created_at")
    ordering = ("-as_of", "-id")


@admin.register(DueCustomer)
class DueCustomerAdmin(ReadOnlyAdmin):
    list_display = ("customer", "cause", "state", "attempts", "created_at", "error")
    list_select_related = ("customer",)
    list_filter = ("state",)
    ordering = ("id",)
