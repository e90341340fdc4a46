"""Classification: “Classify now”, watched live."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from segmentation import scoring_runs
from segmentation.admin.base import View, WorkAdmin, post_only, requires
from segmentation.dashboard import progress, run_page, words
from segmentation.models import ScoringRun


@admin.register(ScoringRun)
class ScoringRunAdmin(WorkAdmin):
    list_display = (
        "number",
        "as_of",
        "state_badge",
        "asked_for",
        "scored",
        "requested_by",
        "created_at",
        "finished_at",
    )
    list_select_related = ("requested_by",)
    list_before_template = "tierwise/classify_button.html"
    ordering = ("-id",)

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("start/", self.start_view, "start"),
            ("<int:pk>/progress/", self.progress_view, "progress"),
            ("<int:pk>/cancel/", self.cancel_view, "cancel"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScoringRun]:
        return super().get_queryset(request).annotate(scored_count=Sum("shards__scored"))

    @admin.display(description=_("run"), ordering="id")
    def number(self, run: ScoringRun) -> str:
        return f"#{run.pk}"

    @admin.display(description=_("customers"), ordering="customers")
    def asked_for(self, run: ScoringRun) -> str:
        return words.number(run.customers)

    @admin.display(description=_("scored"))
    def scored(self, run: ScoringRun) -> str:
        return words.number(run.scored_count or 0)  # type: ignore[attr-defined]

    @post_only("segmentation.add_scoringrun")
    def start_view(self, request: HttpRequest) -> HttpResponse:
        try:
            run = scoring_runs.start(requested_by=request.user)
        except scoring_runs.ScoringError as error:
            self.refuse(request, error)
            return HttpResponseRedirect(self.url("changelist"))
        return self.back_to(run)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        requires(request, "segmentation.view_scoringrun")
        run = get_object_or_404(ScoringRun.objects.select_related("requested_by"), pk=object_id)
        over = run.state != ScoringRun.State.RUNNING
        return self.page(
            request,
            "tierwise/scoring_run.html",
            title=_t("Classification run %(run)s") % {"run": f"#{run.pk}"},
            object=run,
            run=run,
            live=progress.scoring(run),
            versions=run_page.pinned_versions(run),
            result=run_page.result_charts(run.summary),
            may_cancel=request.user.has_perm("segmentation.add_scoringrun") and not over,
        )

    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_scoringrun")
        return JsonResponse(progress.scoring(get_object_or_404(ScoringRun, pk=pk)))

    @post_only("segmentation.add_scoringrun")
    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        run = get_object_or_404(ScoringRun, pk=pk)
        if scoring_runs.cancel(run, by=request.user):
            messages.info(request, _t("The run was stopped. What it had finished stays."))
        else:
            messages.info(request, _t("The run is over already."))
        return self.back_to(run)
