"""Targets as rows that staff add and edit, with a look at how many customers each class would hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from segmentation import target_settings, targets, thresholds
from segmentation.admin.base import EXPORT, View, requires
from segmentation.admin.forms import ThresholdForm
from segmentation.admin.shown import ShownAdmin, ShownForm
from segmentation.dashboard import model_words, threshold_page, words
from segmentation.models import AuditEntry, Shop, Target

# What a stored version has learned must not change its meaning under it.
MEANING = ("slug", "kind", "horizon_days", "attribute", "campaign", "offer")
TIER_WAYS = [
    (target_settings.QUANTILES, _("groups of equal size")),
    (target_settings.MONEY, _("at amounts of money")),
]
METHODS = [
    ("", _("as usual")),
    (target_settings.LABELLED, _("risk: learned from examples that staff marked")),
    (target_settings.ANOMALY, _("risk: whatever is unusual, without examples")),
    ("kmeans", _("groups: k-means")),
    ("ward", _("groups: Ward, on at most 10,000 customers")),
    ("mixture", _("groups: Gaussian mixture")),
]

if TYPE_CHECKING:
    from segmentation.target_previews import Preview


def _text(label: Any, help_text: Any) -> forms.CharField:
    return forms.CharField(
        label=label, help_text=help_text, required=False, max_length=200, widget=UnfoldAdminTextInputWidget
    )


class TargetForm(ShownForm):
    """The row and, by kind, what its settings say."""

    tier_by = forms.ChoiceField(
        label=_("tiers are cut"), choices=TIER_WAYS, required=False, widget=UnfoldAdminSelectWidget
    )
    tier_count = forms.IntegerField(
        label=_("number of tiers"), required=False, widget=UnfoldAdminIntegerFieldWidget,
        help_text=_("Of customers who spend something; who spends nothing has a class of their own."),
    )  # fmt: skip
    borders = _text(_("amounts"), _("In the shop's currency, rising: 100, 500 makes three tiers."))
    days = _text(_("days"), _("An order within how many days: 7, 30, 90."))
    positive = _text(
        _("labels that are the risk"),
        _("As they stand in the column, such as fraud, abuse. Yes-or-no columns need none."),
    )
    trusted = _text(
        _("columns that were checked"),
        _(
            "Short names of columns that may tell the label by themselves, because they are known before it is."
        ),
    )
    method = forms.ChoiceField(
        label=_("method"), choices=METHODS, required=False, widget=UnfoldAdminSelectWidget
    )
    count = forms.IntegerField(
        label=_("number of groups"), required=False, widget=UnfoldAdminIntegerFieldWidget,
        help_text=_("0 or empty: the data say."),
    )  # fmt: skip
    OPTIONS = ("tier_by", "tier_count", "borders", "days", "positive", "trusted", "method", "count")

    class Meta:
        model = Target
        fields = (
            "name", "slug", "kind", "horizon_days", "attribute", "campaign", "offer", "min_orders", "promotes",
            "is_active",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in self._stored().items():
            self.fields[name].initial = value

    def clean_slug(self) -> str:
        """Rules and commands name targets as they name columns; what the form suggests has hyphens."""
        return str(self.cleaned_data["slug"]).replace("-", "_")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors or self._learned():
            return cleaned
        given = {name: cleaned.get(name) for name in self.OPTIONS}
        is_effect = cleaned["kind"] == Target.Kind.UPLIFT
        try:
            if is_effect:
                target_settings.require_one(cleaned.get("campaign"), cleaned.get("offer"))
            settings, horizon = target_settings.check(
                cleaned["kind"],
                given,
                attribute=cleaned.get("attribute"),
                horizon_days=cleaned["horizon_days"],
            )
        except targets.TargetError as error:
            raise ValidationError(str(error)) from error
        if not is_effect:
            cleaned["campaign"] = cleaned["offer"] = None
        self.instance.settings = settings
        cleaned["horizon_days"] = horizon
        return cleaned

    def _learned(self) -> bool:
        return self.instance.pk is not None and self.instance.versions.exists()

    def _stored(self) -> dict[str, Any]:
        target = self.instance
        if target.pk is None:
            return {"tier_count": target_settings.TIER_COUNT, "days": "7, 30, 90"}
        cut = target_settings.tiers(target)
        return {
            "tier_by": cut.by,
            "tier_count": cut.count,
            "borders": ", ".join(f"{border:g}" for border in cut.borders),
            "days": ", ".join(map(str, target_settings.next_days(target))),
            "positive": ", ".join(map(str, target.settings.get("positive", ()))),
            "trusted": ", ".join(map(str, target.settings.get("trusted", ()))),
            "method": target.settings.get("method", "").replace("auto", ""),
            "count": target.settings.get("count", 0),
        }


def _asked(condition: str) -> str:
    """When a field is shown. Where the kind is only told, and no field of the form, all that are left are shown."""
    return f"typeof kind === 'undefined' || {condition}"


@admin.register(Target)
class TargetAdmin(ShownAdmin):
    form = TargetForm
    list_display = ("name", "slug", "kind", "meaning", "horizon_days", "serving", "is_active")
    list_select_related = ("slot__champion", "attribute", "campaign", "offer")
    prepopulated_fields = {"slug": ["name"]}
    fields = (
        "name",
        "slug",
        "kind",
        "horizon_days",
        "attribute",
        "campaign",
        "offer",
        *TargetForm.OPTIONS,
        "min_orders",
        "promotes",
        "is_active",
    )
    change_form_outer_after_template = "tierwise/target_preview.html"
    conditional_fields = {
        "horizon_days": _asked(
            "['churn', 'value_tier', 'future_value', 'next_products', 'uplift'].includes(kind)"
        ),
        "campaign": _asked("kind == 'uplift'"),
        "offer": _asked("kind == 'uplift'"),
        "attribute": _asked("['category', 'risk'].includes(kind)"),
        "tier_by": _asked("kind == 'value_tier'"),
        "tier_count": _asked("kind == 'value_tier' && tier_by != 'money'"),
        "borders": _asked("kind == 'value_tier' && tier_by == 'money'"),
        "days": _asked("kind == 'next_order'"),
        "positive": _asked("kind == 'risk' && method != 'anomaly'"),
        "trusted": _asked("kind == 'category' || (kind == 'risk' && method != 'anomaly')"),
        "method": _asked("['risk', 'clusters'].includes(kind)"),
        "count": _asked("kind == 'clusters'"),
    }

    class Media:
        js = ("tierwise/target-preview.js",)

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("preview/", self.preview_view, "preview"),
            ("<int:pk>/threshold/", self.threshold_view, "threshold"),
            ("<int:pk>/threshold.csv", self.threshold_list_view, "threshold_list"),
        ]

    @admin.display(description=_("what the score means"))
    def meaning(self, target: Target) -> str:
        return targets.definition(target)

    @admin.display(description=_("serves now"))
    def serving(self, target: Target) -> str:
        slot = getattr(target, "slot", None)
        return model_words.version(slot.champion) if slot and slot.champion else words.NOTHING

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        learned = obj is not None and obj.versions.exists()
        options = () if learned else TargetForm.OPTIONS
        return (
            "name", "slug", "kind", "horizon_days", "attribute", "campaign", "offer", *options, "min_orders", "promotes",
            "is_active",
        )  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What stored versions learned must not change its meaning under them."""
        learned = obj is not None and obj.versions.exists()
        return MEANING if learned else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or not obj.versions.exists())

    def save_model(self, request: HttpRequest, obj: Target, form: Any, change: bool) -> None:
        if "horizon_days" in form.cleaned_data:
            obj.horizon_days = form.cleaned_data["horizon_days"]
        super().save_model(request, obj, form, change)
        targets.mark_label(obj)

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """A fragment: the counts of the target as the form stands now, or what is wrong with it."""
        from segmentation import target_previews

        requires(request, "segmentation.view_target")
        target, problem = self._asked(request)
        found = None
        if not problem:
            try:
                found = target_previews.preview(target, shop=Shop.get())
            except targets.TargetError as error:
                problem = str(error)
        context = {"problem": problem, "preview": found, "rows": _rows(found), "definition": ""}
        if found is not None:
            context["definition"] = targets.definition(target)
        return render(request, "tierwise/target_counts.html", context)

    def threshold_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Reached, found and bothered for a line by hand, by capacity or by cost."""
        requires(request, "segmentation.view_score")
        target = self._with_line(pk)
        form = ThresholdForm(request.GET or None)
        shop = Shop.get()
        return self.page(
            request,
            "tierwise/threshold.html",
            title=_t("Where to draw the line: %(target)s") % {"target": target.name},
            object=target,
            target=target,
            definition=targets.definition(target),
            form=form,
            may_export=request.user.has_perm(EXPORT),
            found=threshold_page.build(target, form, shop),
        )

    def threshold_list_view(self, request: HttpRequest, pk: int) -> StreamingHttpResponse:
        """Everyone whom the line reaches, as CSV: as many rows as the page says."""
        requires(request, "segmentation.view_score")
        requires(request, EXPORT)
        target = self._with_line(pk)
        line = threshold_page.line_of(request.GET.get("at", ""))
        if line is None:
            raise Http404
        AuditEntry.record("threshold.export", target, actor=request.user, at=line)
        answer = StreamingHttpResponse(threshold_page.lines(target, line), content_type="text/csv")
        answer["Content-Disposition"] = f'attachment; filename="{target.slug}-{line:.3f}.csv"'
        return answer

    def _with_line(self, pk: int) -> Target:
        target = get_object_or_404(Target.objects.select_related("attribute"), pk=pk)
        if not thresholds.has_line(target):
            raise Http404
        return target

    def _asked(self, request: HttpRequest) -> tuple[Target, str]:
        """The target as asked for, unsaved: a stored one that has learned keeps its meaning."""
        stored = (
            Target.objects.filter(pk=request.POST.get("_target") or 0).select_related("attribute").first()
        )
        if stored is not None and stored.versions.exists():
            return stored, ""
        given = request.POST.copy()
        given["slug"], given["name"] = "preview", given.get("name") or _t("Preview")
        form = TargetForm(given)
        if not form.is_valid():
            return Target(), " ".join(str(error) for errors in form.errors.values() for error in errors)
        target: Target = form.instance
        target.horizon_days = form.cleaned_data["horizon_days"]
        return target, ""


def _rows(found: Preview | None) -> list[tuple[words.Text, str, str, str]]:
    """(class, bounds, customers, share)."""
    if found is None:
        return []
    whole = found.total or 1
    return [
        (words.tier(row.name), row.bounds, words.number(row.count), words.percent(row.count / whole, 1))
        for row in found.rows
    ]
