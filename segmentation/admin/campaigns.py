"""Campaigns with their rules, offers, service priorities, holdouts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.admin import StackedInline
from unfold.widgets import UnfoldAdminDecimalFieldWidget as DecimalWidget

from segmentation import campaigns, holdouts, previews, service_rules
from segmentation.admin.base import HouseAdmin, View, badge, post_only, requires
from segmentation.admin.rule_widget import RuleField, RuleWidget
from segmentation.dashboard import previews as shown
from segmentation.dashboard import segment_page, words
from segmentation.models import Campaign, CampaignRule, HoldoutGroup, Offer, ServicePriorityRule, Shop
from segmentation.models.customers import PriorityLevel

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


class WhomForm(forms.ModelForm):
    """A segment, a condition, or both; the condition is edited in the rule builder."""

    condition = RuleField(
        label=_("Further condition"), required=False, widget=RuleWidget(segment_field="segment")
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors and cleaned.get("segment") is None and cleaned.get("condition") is None:
            self.add_error(
                "segment", _("Choose a segment or add a condition, so that it is clear who is meant.")
            )
        return cleaned


class CampaignRuleInline(StackedInline):
    model = CampaignRule
    form = WhomForm
    fields = (("position", "name"), ("segment", "offer"), "condition")
    verbose_name_plural = _("Rules: the first that fits gives its offer")

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        return 1 if obj is None else 0


@admin.register(Campaign)
class CampaignAdmin(HouseAdmin):
    list_display = ("name", "status_badge", "priority", "starts_on", "ends_on", "offers", "holdout_percent")
    list_filter = ("status",)
    search_fields = ("name", "slug")
    prepopulated_fields = {"slug": ["name"]}
    inlines = (CampaignRuleInline,)
    change_form_outer_before_template = "tierwise/campaign_status.html"
    fields = (
        ("name", "slug"),
        "description",
        ("starts_on", "ends_on"),
        "priority",
        "holdout_percent",
        "needs_marketing_consent",
        "re_entry_days",
    )

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/move/<slug:status>/", self.move_view, "move"),
            ("<int:pk>/reach/", self.reach_view, "reach"),
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
        context = shown.campaign(found, Shop.get().base_currency)
        return TemplateResponse(request, "tierwise/campaign_reach.html", context)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        campaigns.sync_holdout(form.instance, by=request.user)


def _moves(campaign: Campaign) -> list[tuple[str, words.Text, words.Text]]:
    """(status, button, question) of each move that is allowed from here."""
    moves = []
    for status in campaigns.allowed_moves(campaign):
        resumes = campaign.status == Status.PAUSED and status == Status.RUNNING
        title = _("Resume") if resumes else MOVE_WORDS[Status(status)]
        moves.append((str(status), title, END_QUESTION if status == Status.ENDED else ""))
    # The likeliest next step first, ending last.
    return sorted(moves, key=lambda item: list(MOVE_WORDS).index(Status(item[0])))


class OfferForm(forms.ModelForm):
    """Amounts are typed in the shop's currency and kept in its smallest unit."""

    value = forms.DecimalField(
        label=_("Value to the customer"), min_value=0, required=False, widget=DecimalWidget
    )
    cost = forms.DecimalField(label=_("Cost to the shop"), min_value=0, required=False, widget=DecimalWidget)

    class Meta:
        model = Offer
        fields = ("name", "slug", "kind", "text", "percentage", "code", "valid_days", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shop = Shop.get()
        self.minor_per_major = shop.minor_per_major
        for name in ("value", "cost"):
            field = self.fields[name]
            stored = getattr(self.instance, f"{name}_minor")
            field.initial = Decimal(stored) / self.minor_per_major
            field.help_text = shop.base_currency

    def save(self, commit: bool = True) -> Offer:
        for name in ("value", "cost"):
            amount = self.cleaned_data[name] or Decimal(0)
            setattr(self.instance, f"{name}_minor", int((amount * self.minor_per_major).to_integral_value()))
        saved: Offer = super().save(commit)
        return saved


@admin.register(Offer)
class OfferAdmin(HouseAdmin):
    form = OfferForm
    fields = (
        ("name", "slug"),
        "kind",
        "text",
        "percentage",
        ("value", "cost"),
        "code",
        "valid_days",
        "is_active",
    )
    list_display = ("name", "kind", "value", "cost", "valid_days", "active_badge")
    list_filter = ("kind", "is_active")
    search_fields = ("name", "slug", "code")
    prepopulated_fields = {"slug": ["name"]}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.currency = Shop.get().base_currency
        return super().changelist_view(request, extra_context)

    @admin.display(description=_("value to the customer"))
    def value(self, offer: Offer) -> str:
        if offer.percentage is not None:
            return words.percent(float(offer.percentage) / 100)
        return words.money(offer.value_minor, self.currency) if offer.value_minor else words.NOTHING

    @admin.display(description=_("cost to the shop"))
    def cost(self, offer: Offer) -> str:
        return words.money(offer.cost_minor, self.currency) if offer.cost_minor else words.NOTHING

    @admin.display(description=_("state"), ordering="is_active")
    def active_badge(self, offer: Offer) -> SafeString:
        return badge(_("Active"), "good") if offer.is_active else badge(_("Resting"))


@admin.register(ServicePriorityRule)
class ServicePriorityRuleAdmin(HouseAdmin):
    form = WhomForm
    list_display = ("place", "name", "level_badge", "segment", "condition_words", "handling", "is_active")
    list_display_links = ("name",)
    list_select_related = ("segment",)
    # The order is the meaning (the first that fits wins), so the list is shown in no other.
    sortable_by = ()
    fields = ("name", ("level", "is_active"), "handling", "segment", "condition")
    change_form_outer_before_template = "tierwise/priority_status.html"

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/reach/", self.reach_view, "reach"),
            ("<int:pk>/move/up/", self.move_up_view, "move_up"),
            ("<int:pk>/move/down/", self.move_down_view, "move_down"),
        ]

    def reach_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_servicepriorityrule")
        rule = get_object_or_404(ServicePriorityRule.objects.select_related("segment"), pk=pk)
        context = shown.priority(previews.priority_reach(rule))
        return TemplateResponse(request, "tierwise/priority_reach.html", context)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.sentence = segment_page.reader()
        self.places = service_rules.places()
        self.may_move = request.user.has_perm("segmentation.change_servicepriorityrule")
        return super().changelist_view(request, extra_context)

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
