"""What a campaign changed, on a page of its own (mixed into the campaign's admin)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from segmentation.admin.base import View, post_only, requires
from segmentation.dashboard import result_page
from segmentation.models import Campaign, CampaignResult
from segmentation.results import measuring

SEE = "segmentation.view_campaignresult"


class MeasureForm(forms.Form):
    window_days = forms.IntegerField(
        label=_("Orders count for days"), min_value=1, max_value=measuring.MOST_WINDOW
    )
    relevant_percent = forms.IntegerField(
        label=_("An effect worth knowing, in percent"), min_value=1, max_value=measuring.MOST_RELEVANT
    )


class ResultDoors:
    """Needs the methods of HouseAdmin."""

    def result_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/results/", self.results_view, "results"),
            ("<int:pk>/results/measure/", self.measure_view, "measure"),
            ("<int:pk>/results/state/", self.results_state_view, "results_state"),
        ]

    def results_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_campaign")
        requires(request, SEE)
        campaign = get_object_or_404(Campaign, pk=pk)
        row, waiting = measuring.latest(campaign), measuring.under_way(campaign)
        asked = waiting or row
        return self.page(
            request,
            "tierwise/campaign_results.html",
            title=_t("Results of %(campaign)s") % {"campaign": campaign.name},
            object=campaign,
            campaign=campaign,
            row=row,
            waiting=waiting,
            result=result_page.view(row) if row is not None else None,
            window_days=asked.window_days if asked else measuring.usual_window(campaign),
            relevant_percent=asked.relevant_percent if asked else measuring.RELEVANT_PERCENT,
        )

    @post_only("segmentation.add_campaignresult")
    def measure_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        campaign = get_object_or_404(Campaign, pk=pk)
        form = MeasureForm(request.POST)
        if form.is_valid():
            try:
                measuring.request(campaign, by=request.user, **form.cleaned_data)
                messages.success(
                    request, _t("A worker measures it; the page shows the result when it is there.")
                )
            except ValidationError as error:
                self.refuse(request, " ".join(error.messages))
        else:
            self.refuse(request, " ".join(str(error) for errors in form.errors.values() for error in errors))
        return HttpResponseRedirect(self.url("results", pk))

    def results_state_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, SEE)
        newest = CampaignResult.objects.filter(campaign=pk).order_by("-pk").first()
        return JsonResponse({"waiting": newest is not None and not newest.is_over})
