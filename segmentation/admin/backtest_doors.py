"""Trying what is saved on past days, from the page of a segment, a campaign or a priority rule."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from segmentation import policy_backtests
from segmentation.admin.base import View, post_only
from segmentation.dashboard import backtest_page
from segmentation.models import PolicyBacktest, Shop


class BacktestDoors:
    """Mixed into a HouseAdmin. backtest_of: the column of PolicyBacktest that names the row.

    Its page includes tierwise/backtest_card.html, with `backtest_facts` in its context.
    """

    backtest_of = ""

    def backtest_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/backtest/", self.backtest_view, "backtest"),
            ("<int:pk>/backtests/", self.backtests_view, "backtests"),
        ]

    def backtest_facts(self: Any, pk: int) -> dict[str, Any]:
        named = f"admin:segmentation_{self.opts.model_name}"
        return {
            "backtest_days": policy_backtests.usual_days(Shop.get().today()),
            "backtest_request_url": reverse(f"{named}_backtest", args=[pk]),
            "backtest_panel_url": reverse(f"{named}_backtests", args=[pk]),
        }

    @post_only("segmentation.add_policybacktest")
    def backtest_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        """Queue a backtest of what is saved (POST day=…, once for each day)."""
        thing = get_object_or_404(self.model, pk=pk)
        if not self.has_view_permission(request, thing):
            raise PermissionDenied
        try:
            days = [date.fromisoformat(day) for day in request.POST.getlist("day") if day]
            policy_backtests.request(thing, days, by=request.user)
        except ValidationError as error:
            for problem in error.messages:
                self.refuse(request, problem)
        except ValueError:
            self.refuse(request, _("A day looks like 2024-03-01."))
        return HttpResponseRedirect(f"{self.url('change', pk)}#backtest-title")

    def backtests_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        """A panel of the open page; 202 while a worker is at it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = PolicyBacktest.objects.filter(**{self.backtest_of: pk}).order_by("-pk").first()
        if row is not None and not row.is_over:
            return HttpResponse(status=202)
        return TemplateResponse(request, "tierwise/backtest.html", backtest_page.context(row, Shop.get()))
