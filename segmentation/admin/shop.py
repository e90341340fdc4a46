"""The shop itself and its exchange rates."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext_lazy as _

from segmentation.admin.editing import EditedAdmin, MoneyForm, OnceForm, money_field, weekday_field
from segmentation.admin.shown import ShownAdmin, ShownForm
from segmentation.models import ExchangeRate, Shop


class ShopForm(OnceForm, MoneyForm):
    money = {"approval_above": "approval_above_minor"}
    optional_money = frozenset({"approval_above"})
    approval_above = money_field(
        _("A second person approves budgets above"), _("Empty: nobody has to approve campaigns.")
    )
    business_days = weekday_field(_("Service works on"))
    contact_days = weekday_field(_("Campaigns give on"), _("None ticked: on every day."))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        start, end = cleaned.get("quiet_from"), cleaned.get("quiet_to")
        if "quiet_to" in self.fields and (start is None) != (end is None):
            self.add_error("quiet_to", _("Give both ends of the hours, or neither."))
        elif start is not None and start == end:
            self.add_error("quiet_to", _("Quiet hours end at another time than they begin."))
        return cleaned


@admin.register(Shop)
class ShopAdmin(EditedAdmin):
    """One row: the list leads straight to it."""

    form = ShopForm

    fields = (
        "name",
        "base_currency",
        "time_zone",
        "season_start_month",
        "profiling_basis",
        "join_guests_by_email",
        "classify_every_days",
        "classify_hour",
        "train_every_days",
        "train_on_alerts",
        "train_pause_days",
        "retrain_after_erasure_days",
        "approval_above",
        "business_days",
        ("business_from", "business_to"),
        ("quiet_from", "quiet_to"),
        "contact_days",
        "frozen_on",
        "seen",
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
class ExchangeRateAdmin(ShownAdmin):
    form = ShownForm
    list_display = ("day", "currency", "rate")
    list_filter = ("currency",)
    ordering = ("-day", "currency")
