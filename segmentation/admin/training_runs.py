"""Training: ask for a run, watch it, stop it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesCheckboxFilter

from segmentation import comparisons, registry, targets, training_runs
from segmentation.admin.base import View, WorkAdmin, post_only, requires
from segmentation.admin.forms import TrainForm
from segmentation.dashboard import (
    comparison_page,
    model_page,
    model_words,
    progress,
    search_page,
    train_words,
    words,
)
from segmentation.models import TrainingRun


@admin.register(TrainingRun)
class TrainingRunAdmin(WorkAdmin):
    list_display = (
        "number",
        "targets_named",
        "preset",
        "state_badge",
        "progress_percent",
        "took",
        "cause",
        "requested_by",
        "started",
    )
    list_select_related = ("requested_by",)
    list_filter = (("state", ChoicesCheckboxFilter),)
    ordering = ("-id",)

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("train/", self.train_view, "train"),
            ("compare/", self.compare_view, "compare"),
            ("<int:pk>/progress/", self.progress_view, "progress"),
            ("<int:pk>/cancel/", self.cancel_view, "cancel"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrainingRun]:
        return super().get_queryset(request).prefetch_related("targets").defer("epochs")

    # --- columns
    @admin.display(description=_("run"), ordering="id")
    def number(self, run: TrainingRun) -> str:
        return str(run)

    @admin.display(description=_("targets"))
    def targets_named(self, run: TrainingRun) -> str:
        return ", ".join(target.name for target in run.targets.all())

    @admin.display(description=_("progress"))
    def progress_percent(self, run: TrainingRun) -> str:
        return words.percent(run.progress)

    @admin.display(description=_("took"))
    def took(self, run: TrainingRun) -> str:
        return progress.duration(run)

    @admin.display(description=_("started"), ordering="started_at")
    def started(self, run: TrainingRun) -> Any:
        return run.started_at or run.created_at

    # --- asking for a run
    def train_view(self, request: HttpRequest) -> HttpResponse:
        requires(request, "segmentation.add_trainingrun")
        targets.install()
        form = TrainForm(request.POST or None, asked=request.GET)
        if request.method == "POST" and form.is_valid():
            try:
                run = training_runs.request(
                    list(form.cleaned_data["targets"].select_related("attribute")),
                    preset=form.cleaned_data["preset"],
                    seed=form.cleaned_data["seed"],
                    cutoffs=form.cleaned_data["cutoffs"],
                    algorithms=form.cleaned_data["algorithms"],
                    config=form.config(),
                    requested_by=request.user,
                )
            except training_runs.TrainingError as error:
                form.add_error(None, str(error))
            else:
                return self.back_to(run)
        definitions = [(target, targets.definition(target)) for target in targets.active()]
        active = TrainingRun.objects.filter(run_targets__is_active=True).distinct().order_by("-id").first()
        return self.page(
            request,
            "tierwise/train.html",
            title=_t("Train"),
            form=form,
            definitions=definitions,
            active=active,
        )

    # --- what algorithms are worth beside each other
    def compare_view(self, request: HttpRequest) -> HttpResponse:
        requires(request, "segmentation.view_trainingrun")
        offered = list(targets.active())
        wanted = request.GET.get("target", "")
        target = next((one for one in offered if one.slug == wanted), offered[0] if offered else None)
        runs = comparisons.runs_of(target) if target else []
        run = next((one for one in runs if str(one.pk) == request.GET.get("run")), runs[0] if runs else None)
        found = None
        if target is not None and run is not None:
            champion = registry.champion(target)
            found = comparisons.compare(
                run, target, by=request.GET.get("by", ""), champion_id=champion.pk if champion else None
            )
        return self.page(
            request,
            "tierwise/compare.html",
            title=_t("Compare algorithms"),
            targets=offered,
            target=target,
            runs=runs,
            found=found,
            definition=targets.definition(target) if target else "",
            headers=comparison_page.headers(found) if found else (),
            lines=comparison_page.lines(found) if found else (),
            curves=comparison_page.curves(found) if found else [],
        )

    # --- the page of one run
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        requires(request, "segmentation.view_trainingrun")
        run = get_object_or_404(TrainingRun.objects.select_related("requested_by"), pk=object_id)
        return self.page(
            request,
            "tierwise/training_run.html",
            title=_t("Training run %(run)s") % {"run": run},
            object=run,
            run=run,
            live=progress.training(run),
            targets=list(run.targets.all()),
            versions=[
                (one, model_words.algorithm(one.algorithm)) for one in run.versions.order_by("-number")
            ],
            facts=model_page.summary_facts(run.summary),
            settings=train_words.told(run.config),
            studies=search_page.studies(run),
            first_target=run.targets.order_by("slug").first(),
            may_cancel=request.user.has_perm("segmentation.change_trainingrun") and not run.is_over,
        )

    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_trainingrun")
        return JsonResponse(progress.training(get_object_or_404(TrainingRun, pk=pk)))

    @post_only("segmentation.change_trainingrun")
    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        run = get_object_or_404(TrainingRun, pk=pk)
        if training_runs.request_cancel(run, by=request.user):
            messages.info(request, _t("The run was asked to stop."))
        else:
            messages.info(request, _t("The run is over already."))
        return self.back_to(run)
