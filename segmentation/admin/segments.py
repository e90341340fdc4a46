"""Segments: a rule edited with a preview, saved as versions that are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from segmentation import segments
from segmentation.admin import rule_widget
from segmentation.admin.base import HouseAdmin, View, badge, requires
from segmentation.dashboard import previews, segment_page, words
from segmentation.models import Segment
from segmentation.rules.language import RuleError


class SegmentForm(forms.ModelForm):
    rule = rule_widget.RuleField(label=_("Who belongs to it"), required=True)

    class Meta:
        model = Segment
        fields = ("name", "slug", "description", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.was_active = self.instance.is_active
        if self.instance.version is not None:
            self.fields["rule"].initial = self.instance.version.rule

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        slug = cleaned.get("slug") or self.instance.slug
        if cleaned.get("rule") is not None and slug:
            try:
                segments.validate(cleaned["rule"], slug=slug)
            except RuleError as error:
                self.add_error("rule", error.message)
        if self.instance.pk and self.was_active and not cleaned.get("is_active", True):
            self._require_unused()
        return cleaned

    def _require_unused(self) -> None:
        users = segments.users_of(self.instance)
        if users:
            error = segments.SegmentInUse(self.instance, users)
            self.add_error("is_active", ValidationError(str(error)))


@admin.register(Segment)
class SegmentAdmin(HouseAdmin):
    form = SegmentForm
    list_display = ("name", "active_badge", "members", "rule_sentence", "refreshed_at")
    list_select_related = ("version",)
    list_filter = ("is_active",)
    search_fields = ("name", "slug")
    prepopulated_fields = {"slug": ["name"]}
    fields = ("name", "slug", "description", "is_active", "rule")
    actions = None
    change_form_outer_after_template = "tierwise/segment_history.html"

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("rule-fields/", self.rule_fields_view, "rule_fields"),
            ("preview/", self.preview_view, "preview"),
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

    @admin.display(description=_("who belongs to it"))
    def rule_sentence(self, segment: Segment) -> str:
        return self.sentence(segment.version.rule) if segment.version else words.NOTHING

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # One reading of the fields serves every row of the list.
        self.sentence: Callable[[Any], str] = segment_page.reader()
        return super().changelist_view(request, extra_context)

    # --- the form
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
                "members": words.number(segment.member_count),
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
        segments.save_rule(obj, form.cleaned_data["rule"], by=request.user)
        segments.set_active(obj, wanted, by=request.user)

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
        segment = get_object_or_404(Segment, pk=object_id)
        users = segments.users_of(segment)
        if users and self.has_delete_permission(request, segment):
            messages.error(request, str(segments.SegmentInUse(segment, users)))
            return self.back_to(segment)
        return super().delete_view(request, object_id, extra_context)


def customers_url() -> str:
    from django.urls import reverse

    return reverse("admin:segmentation_customer_changelist")
