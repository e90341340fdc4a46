"""Learning: targets and the versions that serve them. Runs are in training_runs.py and scoring_runs.py."""

from __future__ import annotations

from typing import Any

import orjson
from django.contrib import admin, messages
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from segmentation import promotion_diffs, promotion_policy, registry
from segmentation.admin import evaluation_runs, scoring_runs, targets, training_runs  # noqa: F401
from segmentation.admin.base import ReadOnlyAdmin, View, badge, requires
from segmentation.admin.forms import PromoteForm, ReasonForm
from segmentation.dashboard import diff_page, model_card, model_page, model_words, schedules, words
from segmentation.models import ModelSlot, ModelVersion, Promotion, Shop, Target

ROLES = {
    "champion": (_("Serves now"), "good"),
    "challenger": (_("Challenger"), "info"),
    "stored": (_("Kept"), "plain"),
}


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ("version", "algorithm_words", "serves", "targets_named", "main_figures", "created_at")
    list_filter = ("targets",)
    list_before_template = "tierwise/schedules.html"
    ordering = ("-number",)

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/card/", self.card_view, "card"),
            ("<int:pk>/card.json", self.card_json_view, "card_json"),
            ("<int:pk>/promote/<int:target_pk>/", self.promote_view, "promote"),
            ("<int:pk>/promote/<int:target_pk>/diff/", self.promotion_diff_view, "promotion_diff"),
            ("<int:pk>/roll-back/<int:target_pk>/", self.roll_back_view, "roll_back"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelVersion]:
        slots = ModelSlot.objects.select_related("target")
        return (
            super()
            .get_queryset(request)
            .prefetch_related("targets", Prefetch("champion_of", slots), Prefetch("challenger_of", slots))
        )

    @admin.display(description=_("version"), ordering="number")
    def version(self, version: ModelVersion) -> str:
        return _t("Version %(number)s") % {"number": version.number}

    @admin.display(description=_("algorithm"))
    def algorithm_words(self, version: ModelVersion) -> words.Text:
        return model_words.algorithm(version.algorithm)

    @admin.display(description=_("role"))
    def serves(self, version: ModelVersion) -> SafeString:
        if version.champion_of.all():
            return badge(*ROLES["champion"])
        return badge(*ROLES["challenger" if version.challenger_of.all() else "stored"])

    @admin.display(description=_("targets"))
    def targets_named(self, version: ModelVersion) -> str:
        return ", ".join(target.name for target in version.targets.all())

    @admin.display(description=_("main figures"))
    def main_figures(self, version: ModelVersion) -> SafeString | str:
        figures = [
            (target.name, model_page.main_figure(version, target))
            for target in version.targets.all()
            if model_page.main_figure(version, target)
        ]
        return format_html_join("", '<div class="tw-nowrap">{}: {}</div>', figures) or words.NOTHING

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"schedules": schedules.read(Shop.get())})

    # --- the page of one version
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        requires(request, "segmentation.view_modelversion")
        version = get_object_or_404(
            ModelVersion.objects.select_related("training_run", "context"), pk=object_id
        )
        promotions = Promotion.objects.filter(slot__target__in=version.targets.all())
        return self.page(
            request,
            "tierwise/model_version.html",
            title=_t("Version %(number)s") % {"number": version.number},
            object=version,
            version=version,
            algorithm=model_words.algorithm(version.algorithm),
            reports=model_page.reports(version),
            roles=ROLES,
            facts=model_page.facts(version),
            promotions=promotions.select_related("old", "new", "promoted_by", "slot__target").order_by("-id")[
                :10
            ],
            members=[(one.pk, model_words.version(one)) for one in version.members.order_by("-number")],
            may_promote=request.user.has_perm("segmentation.change_modelslot"),
        )

    def card_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_modelversion")
        version = get_object_or_404(ModelVersion, pk=pk)
        return self.page(
            request,
            "tierwise/model_card.html",
            title=_t("Model card of version %(number)s") % {"number": version.number},
            object=version,
            version=version,
            card=model_card.card(version),
        )

    def card_json_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_modelversion")
        version = get_object_or_404(ModelVersion, pk=pk)
        content = orjson.dumps(model_card.card(version).to_json(), option=orjson.OPT_INDENT_2, default=str)
        answer = HttpResponse(content, content_type="application/json")
        answer["Content-Disposition"] = f'attachment; filename="model-card-{version.number}.json"'
        return answer

    def promote_view(self, request: HttpRequest, pk: int, target_pk: int) -> HttpResponse:
        requires(request, "segmentation.change_modelslot")
        version = get_object_or_404(ModelVersion, pk=pk)
        target = get_object_or_404(version.targets, pk=target_pk)
        form = PromoteForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            if refusal := promotion_diffs.refusal(promotion_diffs.latest(target, version)):
                self.refuse(request, refusal)
                return HttpResponseRedirect(request.path)
            return self._promote(request, version, target, form.cleaned_data)
        diff = promotion_diffs.ask(target, version, by=request.user)
        return self.page(
            request,
            "tierwise/promote.html",
            title=_t("Promote version %(number)s?") % {"number": version.number},
            object=version,
            version=version,
            target=target,
            comparison=promotion_policy.compare(target, version),
            form=form,
            diff=diff,
            diff_page=diff_page.build(diff, Shop.get()),
            is_over=diff.is_over,
        )

    def _promote(
        self, request: HttpRequest, version: ModelVersion, target: Target, given: dict[str, Any]
    ) -> HttpResponse:
        try:
            registry.promote(
                target, version, by=request.user, reason=given["reason"], classify=given["classify"]
            )
        except registry.RegistryError as error:
            self.refuse(request, error)
        else:
            messages.success(request, _moved(version, target, classify=given["classify"]))
        return self.back_to(version)

    def promotion_diff_view(self, request: HttpRequest, pk: int, target_pk: int) -> HttpResponse:
        """For the open page: what would change, 202 while a worker has not found it yet."""
        requires(request, "segmentation.change_modelslot")
        version = get_object_or_404(ModelVersion, pk=pk)
        target = get_object_or_404(version.targets, pk=target_pk)
        diff = promotion_diffs.latest(target, version)
        if diff is None or not diff.is_over:
            return HttpResponse(status=202)
        context = {
            "diff": diff,
            "page": diff_page.build(diff, Shop.get()),
            "is_over": True,
            "version": version,
        }
        return render(request, "tierwise/promotion_diff.html", context)

    def roll_back_view(self, request: HttpRequest, pk: int, target_pk: int) -> HttpResponse:
        requires(request, "segmentation.change_modelslot")
        version = get_object_or_404(ModelVersion, pk=pk)
        target = get_object_or_404(version.targets, pk=target_pk)
        previous = registry.previous_champion(target)
        form = ReasonForm(request.POST or None)
        if previous is None or registry.champion(target) != version:
            self.refuse(request, _t("Version %(number)s does not serve “%(target)s”, or nothing did before it.")
                        % {"number": version.number, "target": target.name})  # fmt: skip
            return self.back_to(version)
        if request.method == "POST" and form.is_valid():
            promotion = registry.roll_back(target, by=request.user, reason=form.cleaned_data["reason"])
            messages.success(request, _moved(promotion.new, target))
            return HttpResponseRedirect(self.url("change", promotion.new_id))
        title = _t("Roll back to version %(number)s?") % {"number": previous.number}
        return self.page(
            request,
            "tierwise/promote.html",
            title=title,
            version=version,
            target=target,
            previous=previous,
            form=form,
        )


def _moved(version: ModelVersion, target: Target, *, classify: bool = True) -> str:
    if not classify:
        return _t(
            "Version %(number)s serves “%(target)s” from now on. Customers are scored with it as things happen to "
            "them, everyone with the next classification."
        ) % {"number": version.number, "target": target.name}
    return _t(
        "Version %(number)s serves “%(target)s” from now on. Everyone is being classified with it now."
    ) % {
        "number": version.number,
        "target": target.name,
    }
