"""What another choice of offers would have brought: a panel of the campaign's page (mixed into the campaign's admin)."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse

from segmentation import estimates
from segmentation.admin.base import View, post_only, requires
from segmentation.dashboard import estimate_page
from segmentation.models import Campaign, Offer, PolicyEstimate, Shop


class EstimateDoors:
    """Needs the methods of HouseAdmin."""

    def estimate_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/estimate/", self.estimate_view, "estimate"),
            ("<int:pk>/estimates/", self.estimates_view, "estimates"),
        ]

    @post_only("segmentation.add_policyestimate")
    def estimate_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        campaign = get_object_or_404(Campaign, pk=pk)
        kind, _dash, number = request.POST.get("choice", "").partition("-")
        days = request.POST.get("days", "")
        try:
            estimates.request(
                campaign,
                other=_chosen(Campaign, number) if kind == "campaign" else None,
                offer=_chosen(Offer, number) if kind == "offer" else None,
                horizon_days=int(days) if days.isdecimal() and len(days) <= 3 else 0,
                by=request.user,
            )
        except ValidationError as error:
            for problem in error.messages:
                self.refuse(request, problem)
        return HttpResponseRedirect(f"{self.url('change', pk)}#estimate-title")

    def estimates_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """202 while a worker is at it."""
        requires(request, "segmentation.view_campaign")
        rows = PolicyEstimate.objects.filter(campaign=pk).select_related("other", "offer")
        row = rows.order_by("-pk").first()
        if row is not None and not row.is_over:
            return HttpResponse(status=202)
        return TemplateResponse(request, "tierwise/estimate.html", estimate_page.context(row, Shop.get()))


def _chosen(model: Any, number: str) -> Any:
    if not number.isdecimal() or len(number) > 18:
        return None
    return model._default_manager.filter(pk=number).first()
