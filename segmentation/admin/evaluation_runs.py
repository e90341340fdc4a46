"""Evaluation: ask how good the models are on days or customers they have not seen, watch it, read the figures."""

from __future__ import annotations

from typing import Any

import orjson
from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from segmentation import evaluation_runs, stored_files, targets
from segmentation.admin.base import EXPORT, View, WorkAdmin, post_only, requires
from segmentation.admin.forms import algorithm_choices, days_of
from segmentation.dashboard import evaluation_page, progress, train_words
from segmentation.ml.config import PRESETS
from segmentation.models import EvaluationRun, Target
from segmentation.training_runs import TrainingError


def evaluable() -> QuerySet[Target]:
    """Active targets with labels to be judged by."""
    keys = [target.pk for target in targets.active() if targets.is_evaluated(target)]
    return Target.objects.filter(pk__in=keys).order_by("slug")


class EvaluateForm(forms.Form):
    """Which targets, and what is kept away from the models to test them on."""

    targets = forms.ModelMultipleChoiceField(
        label=_("What to evaluate"),
        queryset=Target.objects.none(),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": _("Choose at least one target to evaluate.")},
    )
    origins = forms.CharField(
        label=_("Days to test on"),
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=_(
            "Dates such as 2011-03-12, 2011-06-12: each is tested with models that knew only what was known by "
            "then. Empty: the latest day whose future is known."
        ),
    )  # fmt: skip
    folds = forms.IntegerField(
        label=_("Folds"),
        required=False,
        min_value=0,
        max_value=evaluation_runs.MOST_FOLDS,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=_(
            "Instead of later days: divide the customers into this many parts and test on each in turn. "
            "For labels of your staff usually 5."
        ),
    )  # fmt: skip
    preset = forms.ChoiceField(label=_("How thoroughly"), widget=UnfoldAdminSelectWidget)
    algorithms = forms.MultipleChoiceField(
        label=_("Algorithms"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("None chosen: the usual ones. One: it is judged itself. Several: their blend is."),
    )
    seed = forms.IntegerField(
        label=_("Seed"), min_value=0, max_value=2**31 - 1, initial=1, widget=UnfoldAdminIntegerFieldWidget
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["targets"].queryset = evaluable()  # type: ignore[attr-defined]
        preset = self.fields["preset"]
        preset.choices = [(name, train_words.PRESETS.get(name, name)) for name in PRESETS]  # type: ignore[attr-defined]
        preset.initial = "default"
        self.fields["algorithms"].choices = algorithm_choices()  # type: ignore[attr-defined]

    def clean_origins(self) -> list[Any]:
        return days_of(self.cleaned_data["origins"])


@admin.register(EvaluationRun)
class EvaluationRunAdmin(WorkAdmin):
    list_display = ("number", "targets_named", "tested_on", "state_badge", "requested_by", "created_at")
    list_select_related = ("requested_by",)
    list_before_template = "tierwise/evaluate_button.html"
    ordering = ("-id",)

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("evaluate/", self.evaluate_view, "evaluate"),
            ("<int:pk>/progress/", self.progress_view, "progress"),
            ("<int:pk>/cancel/", self.cancel_view, "cancel"),
            ("<int:pk>/report.json", self.report_view, "report"),
            ("<int:pk>/predictions.parquet", self.predictions_view, "predictions"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[EvaluationRun]:
        return super().get_queryset(request).prefetch_related("targets").defer("report")

    @admin.display(description=_("evaluation"), ordering="id")
    def number(self, run: EvaluationRun) -> str:
        return str(run)

    @admin.display(description=_("targets"))
    def targets_named(self, run: EvaluationRun) -> str:
        return ", ".join(target.name for target in run.targets.all())

    @admin.display(description=_("tested on"))
    def tested_on(self, run: EvaluationRun) -> str:
        return evaluation_page.tested_on(run)

    def evaluate_view(self, request: HttpRequest) -> HttpResponse:
        requires(request, "segmentation.add_evaluationrun")
        form = EvaluateForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            given = form.cleaned_data
            try:
                run = evaluation_runs.request(
                    list(given["targets"].select_related("attribute")),
                    origins=given["origins"],
                    folds=given["folds"] or 0,
                    preset=given["preset"],
                    seed=given["seed"],
                    algorithms=given["algorithms"],
                    requested_by=request.user,
                )
            except TrainingError as error:
                form.add_error(None, str(error))
            else:
                return self.back_to(run)
        definitions = [
            (target, targets.definition(target)) for target in evaluable().select_related("attribute")
        ]
        return self.page(
            request, "tierwise/evaluate.html", title=_t("Evaluate"), form=form, definitions=definitions
        )

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        requires(request, "segmentation.view_evaluationrun")
        run = get_object_or_404(EvaluationRun.objects.select_related("requested_by"), pk=object_id)
        return self.page(
            request,
            "tierwise/evaluation_run.html",
            title=_t("Evaluation %(run)s") % {"run": run},
            object=run,
            run=run,
            tested_on=evaluation_page.tested_on(run),
            live=progress.evaluating(run),
            targets=list(run.targets.all()),
            reports=evaluation_page.reports(run),
            may_export=request.user.has_perm(EXPORT),
            may_cancel=request.user.has_perm("segmentation.change_evaluationrun") and not run.is_over,
        )

    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_evaluationrun")
        return JsonResponse(progress.evaluating(get_object_or_404(EvaluationRun, pk=pk)))

    def report_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_evaluationrun")
        run = get_object_or_404(EvaluationRun, pk=pk)
        content = orjson.dumps(run.report, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        answer = HttpResponse(content, content_type="application/json")
        answer["Content-Disposition"] = f'attachment; filename="evaluation-{run.pk}.json"'
        return answer

    def predictions_view(self, request: HttpRequest, pk: int) -> FileResponse:
        """Answers about single customers: for whoever may see scores and take lists out."""
        for permission in ("segmentation.view_evaluationrun", "segmentation.view_score", EXPORT):
            requires(request, permission)
        run = get_object_or_404(EvaluationRun, pk=pk)
        path = stored_files.located(run.predictions) if run.predictions else None
        if path is None or not path.exists():
            raise Http404(_t("There are no predictions of this evaluation."))
        return FileResponse(path.open("rb"), as_attachment=True, filename=f"evaluation-{run.pk}.parquet")

    @post_only("segmentation.change_evaluationrun")
    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        run = get_object_or_404(EvaluationRun, pk=pk)
        if evaluation_runs.request_cancel(run, by=request.user):
            messages.info(request, _t("The run was asked to stop."))
        else:
            messages.info(request, _t("The run is over already."))
        return self.back_to(run)
