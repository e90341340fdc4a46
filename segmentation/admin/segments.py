"""Segments: a rule edited with a preview, saved as versions that are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from segmentation import segment_history, segments
from segmentation.admin import rule_widget
from segmentation.admin.backtest_doors import BacktestDoors
from segmentation.admin.base import HouseAdmin, View, badge, requires
from segmentation.admin.editing import OnceForm, saved
from segmentation.admin.segment_doors import SegmentDoors
from segmentation.dashboard import previews, segment_page, words
from segmentation.models import Segment, Shop
from segmentation.rules.language import RuleError


class SegmentForm(OnceForm):
    """The rule has versions (`opened`), of which the later may replace the earlier; the words are guarded by `seen`."""

    rule = rule_widget.RuleField(label=_("Who belongs to it"), required=True)
    # The version that this page showed: two people may have it open.
    opened = forms.IntegerField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = Segment
        fields = ("name", "slug", "description", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.was_active = self.instance.is_active
        self.is_list = self.instance.kind == Segment.Kind.LIST
        if self.is_list:
            del self.fields["rule"]
        if self.instance.version is not None:
            self.fields["opened"].initial = self.instance.version.number
            if not self.is_list:
                self.fields["rule"].initial = self.instance.version.rule

    @property
    def words_changed(self) -> bool:
        return not set(self.changed_data).isdisjoint(self._meta.fields or ())

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        slug = cleaned.get("slug") or self.instance.slug
        if cleaned.get("rule") is not None and slug:
            try:
                segments.validate(cleaned["rule"], slug=slug)
            except RuleError as error:
                self.add_error("rule", error.message)
        self._refuse_if_edited_meanwhile(cleaned)
        if self.instance.pk and self.was_active and not cleaned.get("is_active", True):
            self._require_unused()
        return cleaned

    def _refuse_if_edited_meanwhile(self, cleaned: dict[str, Any]) -> None:
        """Before anything is written; `save_rule` asks again under its lock."""
        version, opened = self.instance.version, cleaned.get("opened")
        if version is None or opened in (None, version.number) or cleaned.get("rule") in (None, version.rule):
            return
        error = _t("%(problem)s Their version is below; saving again replaces it with yours.")
        self.add_error("rule", error % {"problem": segments.EditedMeanwhile(version)})
        # Whoever has read that and saves again means it.
        sent: Any = self.data
        self.data = sent = sent.copy()
        sent[self.add_prefix("opened")] = str(version.number)

    def _require_unused(self) -> None:
        users = segments.users_of(self.instance)
        if users:
            error = segments.SegmentInUse(self.instance, users)
            self.add_error("is_active", ValidationError(str(error)))


@admin.register(Segment)
class SegmentAdmin(SegmentDoors, BacktestDoors, HouseAdmin):
    backtest_of = "segment"
    form = SegmentForm
    list_before_template = "tierwise/segment_buttons.html"
    list_display = ("name", "active_badge", "kind", "members", "rule_sentence", "freshness")
    list_select_related = ("version",)
    list_filter = ("is_active", "kind")
    search_fields = ("name", "slug")
    prepopulated_fields = {"slug": ["name"]}
    actions = None
    change_form_outer_after_template = "tierwise/segment_history.html"

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("rule-fields/", self.rule_fields_view, "rule_fields"),
            ("preview/", self.preview_view, "preview"),
            *self.segment_urls(),
            *self.backtest_urls(),
        ]

    # --- what the rule builder asks for
    def rule_fields_view(self, request: HttpRequest) -> HttpResponse:
        requires(request, "segmentation.view_segment")
        return rule_widget.configuration(request)

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        requires(request, "segmentation.view_segment")
        return JsonResponse(previews.answer(request))

    # --- list
    @admin.display(description=_("state"), ordering="is_active")
    def active_badge(self, segment: Segment) -> SafeString:
        return badge(_("Active"), "good") if segment.is_active else badge(_("Resting"))

    @admin.display(description=_("members"), ordering="member_count")
    def members(self, segment: Segment) -> SafeString:
        return format_html(
            '<a class="tw-link" href="{}?segment={}">{}</a>',
            customers_url(),
            segment.pk,
            words.number(segment.member_count),
        )

    @admin.display(description=_("refreshed"), ordering="refreshed_at")
    def freshness(self, segment: Segment) -> SafeString | str:
        if segment_history.is_stale(segment, timezone.now(), self.shop):
            return badge(segment_page.age(segment), "bad")
        return words.moment(segment.refreshed_at)

    @admin.display(description=_("who belongs to it"))
    def rule_sentence(self, segment: Segment) -> str:
        return self.sentence(segment.version.rule) if segment.version else words.NOTHING

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.shop = Shop.get()
        return super().changelist_view(request, extra_context)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        found = super().get_changelist_instance(request)
        # One reading of the fields, and of the products asked about, serves every row of the list.
        rules = [segment.version.rule for segment in found.result_list if segment.version]
        self.sentence: Callable[[Any], str] = segment_page.reader(rules=rules)
        return found

    # --- the form
    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        first = ("name", "slug", "description", "is_active", "opened", "seen")
        return first if obj is not None and obj.kind == Segment.Kind.LIST else (*first, "rule")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # Rules refer to segments by their short name.
        return ("slug",) if obj is not None else ()

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        segment = Segment.objects.filter(pk=object_id).first() if object_id else None
        facts = (
            {
                "history": segment_page.history(segment),
                "used_by": segments.users_of(segment),
                "uses": segment_page.uses(segment),
                "members": words.number(segment.member_count),
                "stale": segment_page.age(segment)
                if segment_history.is_stale(segment, timezone.now(), Shop.get())
                else "",
                "entries": segment_page.entries(segment),
                # A list has members, and no rule that could be tried.
                **(self.backtest_facts(segment.pk) if segment.kind != Segment.Kind.LIST else {}),
            }
            if segment
            else {}
        )
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **facts})

    def save_model(self, request: HttpRequest, obj: Segment, form: Any, change: bool) -> None:
        wanted = obj.is_active
        if change:
            obj.is_active = form.was_active
        super().save_model(request, obj, form, change)
        if form.words_changed:
            saved(obj)
        try:
            if not form.is_list:
                opened = form.cleaned_data.get("opened") if change else None
                segments.save_rule(obj, form.cleaned_data["rule"], by=request.user, opened=opened)
            segments.set_active(obj, wanted, by=request.user)
        except (RuleError, segments.EditedMeanwhile, segments.SegmentInUse) as error:
            # Somebody changed something between the check of the form and this moment.
            self.refuse(request, error)

    # --- deleting
    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """The service decides what keeps a segment; its members and history go with it."""
        named = [str(segment) for segment in objs]
        users = [user for segment in objs for user in segments.users_of(segment)]
        counts = {_t("members"): sum(segment.member_count for segment in objs)}
        return named, counts, set(), users

    def delete_model(self, request: HttpRequest, obj: Segment) -> None:
        segments.delete(obj, by=request.user)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        segment = self.get_object(request, object_id)
        users = segments.users_of(segment) if segment is not None else ()
        if segment is not None and users and self.has_delete_permission(request, segment):
            messages.error(request, str(segments.SegmentInUse(segment, users)))
            return self.back_to(segment)
        return super().delete_view(request, object_id, extra_context)


def customers_url() -> str:
    from django.urls import reverse

    return reverse("admin:segmentation_customer_changelist")
