"""Learning: targets and the versions that serve them. Runs are in training_runs.py and scoring_runs.py."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from segmentation import registry
from segmentation.admin import scoring_runs, training_runs  # noqa: F401
from segmentation.admin.base import HouseAdmin, ReadOnlyAdmin, View, badge, requires
from segmentation.admin.forms import ReasonForm
from segmentation.dashboard import model_page, model_words, words
from segmentation.models import ModelSlot, ModelVersion, Promotion, Target

ROLES = {
    "champion": (_("Serves now"), "good"),
    "challenger": (_("Challenger"), "info"),
    "stored": (_("Kept"), "plain"),
}


@admin.register(Target)
class TargetAdmin(HouseAdmin):
    list_display = ("name", "slug", "kind", "horizon_days", "serving", "is_active")
    list_select_related = ("slot__champion",)
    prepopulated_fields = {"slug": ["name"]}
    fields = ("name", "slug", "kind", "horizon_days", "attribute", "is_active")

    @admin.display(description=_("serves now"))
    def serving(self, target: Target) -> str:
        slot = getattr(target, "slot", None)
        return model_words.version(slot.champion) if slot and slot.champion else words.NOTHING

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What stored versions learned must not change its meaning under them."""
        learned = obj is not None and obj.versions.exists()
        return ("slug", "kind", "horizon_days", "attribute") if learned else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or not obj.versions.exists())


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ("version", "algorithm_words", "serves", "targets_named", "main_figures", "created_at")
    list_filter = ("targets",)
    ordering = ("-number",)

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/promote/<int:target_pk>/", self.promote_view, "promote"),
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

    def promote_view(self, request: HttpRequest, pk: int, target_pk: int) -> HttpResponse:
        requires(request, "segmentation.change_modelslot")
        version = get_object_or_404(ModelVersion, pk=pk)
        target = get_object_or_404(version.targets, pk=target_pk)
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                registry.promote(target, version, by=request.user, reason=form.cleaned_data["reason"])
            except registry.RegistryError as error:
                self.refuse(request, error)
            else:
                messages.success(request, _moved(version, target))
            return self.back_to(version)
        return self.page(
            request,
            "tierwise/promote.html",
            title=_t("Promote version %(number)s?") % {"number": version.number},
            object=version,
            version=version,
            target=target,
            comparison=registry.compare(target, version),
            form=form,
        )

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


def _moved(version: ModelVersion, target: Target) -> str:
    return _t(
        "Version %(number)s serves “%(target)s” from now on. Everyone is being classified with it now."
    ) % {
        "number": version.number,
        "target": target.name,
    }
