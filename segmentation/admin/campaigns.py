"""Campaigns with their rules, frequency caps and holdouts: every move goes through its service."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.admin import StackedInline

from segmentation import campaigns, holdouts, previews
from segmentation.admin.backtest_doors import BacktestDoors
from segmentation.admin.base import HouseAdmin, View, badge, post_only, requires
from segmentation.admin.editing import (
    MOST_DAYS,
    BoundedForm,
    EditedAdmin,
    MoneyForm,
    OnceForm,
    RefusesLate,
    WhomForm,
    money_field,
    weekday_field,
)
from segmentation.admin.estimates import EstimateDoors
from segmentation.admin.results import ResultDoors
from segmentation.dashboard import estimate_page, words
from segmentation.dashboard import previews as shown
from segmentation.models import (
    Campaign,
    CampaignRule,
    FrequencyCap,
    HoldoutGroup,
    Shop,
    Usage,
)

STATUS_TONES = {"draft": "plain", "scheduled": "info", "running": "good", "paused": "warn", "ended": "plain"}
Status = Campaign.Status
# The button for a move, by where it leads and, for starting, whence.
MOVE_WORDS = {
    Status.RUNNING: _("Start now"),
    Status.SCHEDULED: _("Schedule"),
    Status.PAUSED: _("Pause"),
    Status.ENDED: _("End"),
    Status.DRAFT: _("Back to draft"),
}
END_QUESTION = _("End this campaign for good?")


class CampaignRuleForm(MoneyForm, WhomForm):
    money = {"margin": "margin_minor"}
    margin = money_field(_("Margin of a purchase"), _("What is left of it before the offer's cost."))


class CampaignRuleInline(StackedInline):
    model = CampaignRule
    form = CampaignRuleForm
    fields = (
        ("position", "name"),
        ("segment", "offer"),
        "condition",
        ("uplift", "uplift_field"),
        "margin",
    )
    verbose_name_plural = _("Rules: who gets which offer")

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        return 1 if obj is None else 0


class CampaignForm(OnceForm, BoundedForm, MoneyForm):
    most = {"re_entry_days": MOST_DAYS}
    money = {"budget": "budget_minor"}
    optional_money = frozenset({"budget"})
    budget = money_field(_("Budget"), _("Counted by the cost of each offer given. Empty: no limit."))
    schedule_weekdays = weekday_field(_("On these weekdays"))
    weekdays = weekday_field(_("Given on these weekdays"), _("None ticked: on every day."))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        budget = self.minor("budget")
        if self.instance.pk and budget is not None:
            used = Usage.objects.filter(campaign=self.instance, spent_minor__gt=budget).exists()
            if used:
                self.add_error("budget", _("More than that is used already."))
        if self.instance.status in (Status.SCHEDULED, Status.RUNNING) and _needs_approval(budget):
            self.add_error(
                "budget",
                _(
                    "A campaign that one person alone may not decide is changed while it is paused, and approved again."
                ),
            )
        if cleaned.get("re_entry") == Campaign.ReEntry.DAYS and cleaned.get("re_entry_days") is None:
            self.add_error("re_entry_days", _("Say after how many days it may come again."))
        if (cleaned.get("hours_from") is None) != (cleaned.get("hours_to") is None):
            self.add_error("hours_to", _("Give both ends of the hours, or neither."))
        return cleaned


def _needs_approval(budget: int | None) -> bool:
    above = Shop.get().approval_above_minor
    return above is not None and (budget is None or budget > above)


@admin.register(Campaign)
class CampaignAdmin(BacktestDoors, EstimateDoors, ResultDoors, RefusesLate, HouseAdmin):
    backtest_of = "campaign"
    list_display = ("name", "status_badge", "priority", "starts_on", "ends_on", "offers", "holdout_percent")
    list_filter = ("status",)
    search_fields = ("name", "slug")
    prepopulated_fields = {"slug": ["name"]}
    inlines = (CampaignRuleInline,)
    change_form_outer_before_template = "tierwise/campaign_status.html"
    form = CampaignForm
    fieldsets = (
        (None, {"fields": (("name", "slug"), "description", ("starts_on", "ends_on"), "priority", "seen")}),
        (
            _("When it starts for a customer"),
            {
                "fields": (
                    "trigger",
                    ("trigger_segment", "trigger_event"),
                    "trigger_days",
                    ("schedule_weekdays", "schedule_month_day"),
                    ("re_entry", "re_entry_days"),
                    "on_lost",
                )
            },
        ),
        (
            _("Beside other campaigns"),
            {"fields": ("stacks", "exclusive_group", ("channel", "ignores_caps"))},
        ),
        (
            _("Days and hours where the customer lives"),
            {"fields": (("hours_from", "hours_to"), "weekdays")},
        ),
        (_("Choice and budget"), {"fields": ("choice", "budget")}),
        (_("Who is left out"), {"fields": ("needs_marketing_consent", "holdout_percent")}),
    )

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/move/<slug:status>/", self.move_view, "move"),
            ("<int:pk>/reach/", self.reach_view, "reach"),
            ("<int:pk>/approve/", self.approve_view, "approve"),
            *self.backtest_urls(),
            *self.estimate_urls(),
            *self.result_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Campaign]:
        rules = CampaignRule.objects.select_related("offer").order_by("position")
        return super().get_queryset(request).prefetch_related(Prefetch("rules", rules))

    @admin.display(description=_("state"), ordering="status")
    def status_badge(self, campaign: Campaign) -> SafeString:
        return badge(campaign.get_status_display(), STATUS_TONES[campaign.status])

    @admin.display(description=_("offers"))
    def offers(self, campaign: Campaign) -> SafeString | str:
        names = dict.fromkeys(rule.offer.name for rule in campaign.rules.all())
        return format_html_join(", ", "{}", ((name,) for name in names)) or words.NOTHING

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        campaign = Campaign.objects.filter(pk=object_id).first() if object_id else None
        facts: dict[str, Any] = {}
        if campaign is not None:
            facts["tone"] = STATUS_TONES[campaign.status]
            if self.has_change_permission(request, campaign):
                facts["moves"] = _moves(campaign)
            facts |= {
                "may_approve": campaigns.approval_missing(campaign)
                and self.has_approve_permission(request)
                and campaign.status in (Status.DRAFT, Status.SCHEDULED, Status.PAUSED),
                "needs_approval": campaigns.approval_missing(campaign),
                "estimate_choices": estimate_page.choices(campaign),
                **self.backtest_facts(campaign.pk),
            }
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **facts})

    @post_only("segmentation.change_campaign")
    def move_view(self, request: HttpRequest, pk: int, status: str) -> HttpResponse:
        campaign = get_object_or_404(Campaign, pk=pk)
        if status not in Status.values:
            return HttpResponseNotFound()
        try:
            campaign = campaigns.move(campaign, status, by=request.user)
        except campaigns.MoveRefused as error:
            self.refuse(request, error)
        except ValidationError as error:
            for problem in error.messages:
                self.refuse(request, problem)
        else:
            messages.success(
                request, _t("The campaign is now: %(state)s") % {"state": campaign.get_status_display()}
            )
        return self.back_to(campaign)

    def reach_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """A panel of the open page: what the saved campaign would do today."""
        requires(request, "segmentation.view_campaign")
        campaign = get_object_or_404(Campaign, pk=pk)
        found = previews.campaign_reach(campaign)
        context = shown.campaign(found, Shop.get().base_currency) | shown.budget(campaign, Shop.get())
        return TemplateResponse(request, "tierwise/campaign_reach.html", context)

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("segmentation.approve_campaign"))

    @post_only("segmentation.approve_campaign")
    def approve_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        campaign = get_object_or_404(Campaign, pk=pk)
        try:
            seen = request.POST.get("seen", "")
            campaigns.approve(campaign, by=request.user, seen=int(seen) if seen.isdecimal() else None)
        except campaigns.MoveRefused as error:
            self.refuse(request, error)
        else:
            messages.success(request, _t("The campaign is approved as it is; an edit ends that."))
        return self.back_to(campaign)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        campaigns.edited(form.instance, by=request.user)


def _moves(campaign: Campaign) -> list[tuple[str, words.Text, words.Text]]:
    """(status, button, question) of each move that is allowed from here."""
    moves = []
    for status in campaigns.allowed_moves(campaign):
        resumes = campaign.status == Status.PAUSED and status == Status.RUNNING
        title = _("Resume") if resumes else MOVE_WORDS[Status(status)]
        moves.append((str(status), title, END_QUESTION if status == Status.ENDED else ""))
    # The likeliest next step first, ending last.
    return sorted(moves, key=lambda item: list(MOVE_WORDS).index(Status(item[0])))


@admin.register(FrequencyCap)
class FrequencyCapAdmin(EditedAdmin):
    form = OnceForm
    list_display = ("name", "channel", "most", "days", "is_active")
    fields = ("name", "channel", ("most", "days"), "is_active", "seen")


class HoldoutForm(forms.Form):
    percent = forms.DecimalField(
        label=_("Share of all customers, in percent"), min_value=0, max_value=50, decimal_places=2, initial=5
    )


@admin.register(HoldoutGroup)
class HoldoutGroupAdmin(HouseAdmin):
    """Draws are kept, never edited; the global one is set here, a campaign's with the campaign."""

    list_display = ("whose", "percent", "draw", "is_current", "created_at")
    list_select_related = ("campaign",)
    list_before_template = "tierwise/holdout_form.html"
    ordering = ("-is_current", "-id")
    actions = None

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [("draw/", self.draw_view, "draw")]

    @admin.display(description=_("of"))
    def whose(self, group: HoldoutGroup) -> str:
        return group.campaign.name if group.campaign else _t("All campaigns")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @post_only("segmentation.add_holdoutgroup")
    def draw_view(self, request: HttpRequest) -> HttpResponse:
        form = HoldoutForm(request.POST)
        if form.is_valid():
            holdouts.set_global(form.cleaned_data["percent"], by=request.user)
            messages.success(request, _t("The draw is in force from the next decisions on."))
        else:
            self.refuse(request, " ".join(str(error) for error in form.errors["percent"]))
        return HttpResponseRedirect(self.url("changelist"))
