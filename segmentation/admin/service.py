"""Service: the rules in order, the work list, and what waits for a person's word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from segmentation import previews, service, service_rules
from segmentation.admin.backtest_doors import BacktestDoors
from segmentation.admin.base import ReadOnlyAdmin, View, badge, post_only, requires
from segmentation.admin.editing import MOST_DAYS, BoundedForm, EditedAdmin, OnceForm, WhomForm
from segmentation.admin.offers import customer_link
from segmentation.dashboard import previews as shown
from segmentation.dashboard import segment_page, words
from segmentation.models import PriorityReview, ServicePriority, ServicePriorityRule
from segmentation.models.customers import PriorityLevel


class PriorityRuleForm(OnceForm, BoundedForm, WhomForm):
    # A year of minutes: business hours are counted day by day.
    most = {"expires_days": MOST_DAYS, "target_minutes": 366 * 24 * 60}


@admin.register(ServicePriorityRule)
class ServicePriorityRuleAdmin(BacktestDoors, EditedAdmin):
    backtest_of = "priority_rule"
    form = PriorityRuleForm
    list_display = ("place", "name", "level_badge", "segment", "condition_words", "handling", "is_active")
    list_display_links = ("name",)
    list_select_related = ("segment",)
    # The order is the meaning (the first that fits wins), so the list is shown in no other.
    sortable_by = ()
    fieldsets = (
        (None, {"fields": ("name", ("level", "is_active"), "segment", "condition", "seen")}),
        (_("How they are served"), {"fields": ("handling", ("owner", "target_minutes"), "expires_days")}),
        (_("What it may not do"), {"fields": ("is_promise", "respects_holdout")}),
    )
    change_form_outer_before_template = "tierwise/priority_status.html"

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/reach/", self.reach_view, "reach"),
            ("<int:pk>/move/up/", self.move_up_view, "move_up"),
            ("<int:pk>/move/down/", self.move_down_view, "move_down"),
            *self.backtest_urls(),
        ]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        known = object_id and object_id.isdecimal()
        facts = self.backtest_facts(int(object_id)) if known and object_id else {}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **facts})

    def reach_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_servicepriorityrule")
        rule = get_object_or_404(ServicePriorityRule.objects.select_related("segment"), pk=pk)
        context = shown.priority(previews.priority_reach(rule))
        return TemplateResponse(request, "tierwise/priority_reach.html", context)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.places = service_rules.places()
        self.may_move = request.user.has_perm("segmentation.change_servicepriorityrule")
        return super().changelist_view(request, extra_context)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        found = super().get_changelist_instance(request)
        self.sentence = segment_page.reader(rules=[rule.condition for rule in found.result_list])
        return found

    def save_model(self, request: HttpRequest, obj: ServicePriorityRule, form: Any, change: bool) -> None:
        if not change:
            obj.position = service_rules.next_position()
        super().save_model(request, obj, form, change)

    @post_only("segmentation.change_servicepriorityrule")
    def move_up_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._move(request, pk, -1)

    @post_only("segmentation.change_servicepriorityrule")
    def move_down_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._move(request, pk, 1)

    def _move(self, request: HttpRequest, pk: int, by: int) -> HttpResponse:
        rule = get_object_or_404(ServicePriorityRule, pk=pk)
        place = service_rules.move(rule, by, actor=request.user)
        messages.success(
            request, _t("“%(name)s” is now number %(place)s.") % {"name": rule.name, "place": place}
        )
        # The moved row keeps the keyboard's place on the page.
        return HttpResponseRedirect(f"{self.url('changelist')}#place-{pk}")

    @admin.display(description=_("place"))
    def place(self, rule: ServicePriorityRule) -> SafeString | int:
        place = self.places.get(rule.pk, rule.position)
        if not self.may_move:
            return place
        return format_html(
            '<span class="tw-nowrap" id="place-{}">{} {} {}</span>',
            rule.pk,
            place,
            self._arrow("↑", _("Move “%(name)s” up"), "move_up", rule, works=place > 1),
            self._arrow("↓", _("Move “%(name)s” down"), "move_down", rule, works=place < len(self.places)),
        )

    def _arrow(
        self, sign: str, title: words.Text, view: str, rule: ServicePriorityRule, *, works: bool
    ) -> SafeString:
        """A button of the list's own form, whose token it sends."""
        return format_html(
            '<button class="tw-button tw-tiny" formaction="{}" aria-label="{}"{}>{}</button>',
            self.url(view, rule.pk),
            str(title) % {"name": rule.name},
            "" if works else mark_safe(" disabled"),
            sign,
        )

    @admin.display(description=_("priority"))
    def level_badge(self, rule: ServicePriorityRule) -> SafeString:
        return badge(PriorityLevel(rule.level).label, words.PRIORITY_TONES[rule.level])

    @admin.display(description=_("further condition"))
    def condition_words(self, rule: ServicePriorityRule) -> str:
        return self.sentence(rule.condition) if rule.condition else words.NOTHING


class HandledFilter(admin.SimpleListFilter):
    title = _("work")
    parameter_name = "work"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("handled", _("Handled"))]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Open work is what the list is for; nobody asks for both together."""
        for value, title in ((None, _("To do")), ("handled", _("Handled"))):
            changed = {} if value is None else {self.parameter_name: value}
            removed = [self.parameter_name] if value is None else []
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string(changed, removed),
                "display": title,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(handled_at__isnull=self.value() != "handled")


@admin.register(ServicePriority)
class ServicePriorityAdmin(ReadOnlyAdmin):
    """The work list: the most urgent first, whoever waits longest before the others. One index serves its pages."""

    list_display = ("level_badge", "whom", "why", "handling", "offer", "owner", "waits", "answer_by", "done")
    list_display_links = None
    list_select_related = ("customer__current_offer", "rule", "override")
    list_filter = (HandledFilter, "level")
    ordering = ("-level", "since", "customer")
    sortable_by = ()

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [("<int:pk>/handled/", self.handled_view, "handled")]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.now = timezone.now()
        self.may_handle = request.user.has_perm("segmentation.change_servicepriority")
        return super().changelist_view(request, extra_context)

    @post_only("segmentation.change_servicepriority")
    def handled_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        row = get_object_or_404(ServicePriority.objects.select_related("customer"), pk=pk)
        if service.handled(row, by=request.user):
            messages.success(request, _t("%(customer)s is done.") % {"customer": row.customer.reference})
        return HttpResponseRedirect(self.url("changelist"))

    @admin.display(description=_("priority"))
    def level_badge(self, row: ServicePriority) -> SafeString:
        return badge(PriorityLevel(row.level).label, words.PRIORITY_TONES[row.level])

    @admin.display(description=_("customer"))
    def whom(self, row: ServicePriority) -> SafeString:
        return customer_link(row.customer)

    @admin.display(description=_("why"))
    def why(self, row: ServicePriority) -> str:
        if row.override is not None:
            return _t("By hand: %(reason)s") % {"reason": row.override.reason}
        return row.rule.name if row.rule is not None else words.NOTHING

    @admin.display(description=_("what to do"))
    def handling(self, row: ServicePriority) -> str:
        return (row.rule.handling if row.rule is not None else "") or words.NOTHING

    @admin.display(description=_("offer to make"))
    def offer(self, row: ServicePriority) -> str:
        offer = row.customer.current_offer
        return offer.name if offer is not None else words.NOTHING

    @admin.display(description=_("who looks after it"))
    def owner(self, row: ServicePriority) -> str:
        return (row.rule.owner if row.rule is not None else "") or words.NOTHING

    @admin.display(description=_("since"))
    def waits(self, row: ServicePriority) -> str:
        return words.moment(row.since)

    @admin.display(description=_("answer by"))
    def answer_by(self, row: ServicePriority) -> SafeString | str:
        if row.respond_by is None:
            return words.NOTHING
        late = row.respond_by < self.now and row.handled_at is None
        return badge(words.moment(row.respond_by), "bad") if late else words.moment(row.respond_by)

    @admin.display(description="")
    def done(self, row: ServicePriority) -> SafeString | str:
        if row.handled_at is not None:
            return words.moment(row.handled_at)
        if not self.may_handle:
            return ""
        return format_html(
            '<button class="tw-button tw-tiny" formaction="{}" aria-label="{}">{}</button>',
            self.url("handled", row.pk),
            _t("%(customer)s is handled") % {"customer": row.customer.reference},
            _t("Handled"),
        )


@admin.register(PriorityReview)
class PriorityReviewAdmin(ReadOnlyAdmin):
    """A prediction would serve these customers later: a person says for each whether it may."""

    list_display = ("whom", "rule", "level", "otherwise", "state_badge", "asked", "answer")
    list_display_links = None
    list_select_related = ("customer", "rule")
    list_filter = ("state", "rule")
    ordering = ("-id",)
    change_form_outer_before_template = "tierwise/review_buttons.html"

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/approve/", self.approve_view, "approve"),
            ("<int:pk>/refuse/", self.refuse_view, "refuse"),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.may_answer = request.user.has_perm("segmentation.change_priorityreview")
        return super().changelist_view(request, extra_context)

    @post_only("segmentation.change_priorityreview")
    def approve_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._answer(request, pk, approve=True)

    @post_only("segmentation.change_priorityreview")
    def refuse_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._answer(request, pk, approve=False)

    def _answer(self, request: HttpRequest, pk: int, *, approve: bool) -> HttpResponse:
        row = get_object_or_404(PriorityReview, pk=pk)
        service.review(row, approve=approve, by=request.user)
        messages.success(request, _t("Noted; the customer is decided anew in a moment."))
        return HttpResponseRedirect(self.url("changelist"))

    @admin.display(description=_("customer"))
    def whom(self, row: PriorityReview) -> SafeString:
        return customer_link(row.customer)

    @admin.display(description=_("state"))
    def state_badge(self, row: PriorityReview) -> SafeString:
        tones = {"waiting": "warn", "approved": "good", "refused": "plain"}
        return badge(row.get_state_display(), tones[row.state])

    @admin.display(description=_("asked"), ordering="asked_at")
    def asked(self, row: PriorityReview) -> str:
        return words.moment(row.asked_at)

    @admin.display(description="")
    def answer(self, row: PriorityReview) -> SafeString | str:
        if not self.may_answer:
            return ""
        buttons = [("approve", _t("May wait")), ("refuse", _t("May not"))]
        given = {"approved": "approve", "refused": "refuse"}.get(row.state)
        return format_html_join(
            " ",
            '<button class="tw-button tw-tiny" formaction="{}" aria-label="{}: {}">{}</button>',
            (
                (self.url(name, row.pk), row.customer.reference, title, title)
                for name, title in buttons
                if name != given
            ),
        )
