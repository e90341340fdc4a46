"""Offers with their texts and codes, what was given, and customers who get nothing."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.forms import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline

from segmentation import due, offer_codes, offer_texts
from segmentation.admin.base import HouseAdmin, ReadOnlyAdmin, View, badge, post_only, requires
from segmentation.admin.editing import (
    MOST_DAYS,
    BoundedForm,
    EditedAdmin,
    MoneyForm,
    OnceForm,
    RefusesLate,
    money_field,
    saved,
)
from segmentation.dashboard import words
from segmentation.decisions import limits
from segmentation.models import Customer, Grant, Offer, OfferText, Shop, Suppression, Usage


class OfferForm(OnceForm, BoundedForm, MoneyForm):
    most = {"valid_days": MOST_DAYS}
    money = {"value": "value_minor", "cost": "cost_minor", "limit_money": "limit_money_minor"}
    optional_money = frozenset({"limit_money"})
    value = money_field(_("Value to the customer"))
    cost = money_field(_("Cost to the shop"), _("What budgets count for each offer given."))
    limit_money = money_field(_("May cost at most"), _("All customers together."))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "products_count" in self.fields:
            self.fields["products_count"].required = False

    def clean_products_count(self) -> int:
        usual: int = Offer._meta.get_field("products_count").default
        return self.cleaned_data["products_count"] or usual

    def clean_text(self) -> str:
        text: str = self.cleaned_data["text"]
        offer_texts.check(text)
        return text

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if offer_texts.asks_products([cleaned.get("text") or ""]) and not cleaned.get("products_fallback"):
            self.add_error(
                "products_fallback", _("Say what stands there for customers without a suggestion.")
            )
        if cleaned.get("kind") == Offer.Kind.POINTS and not cleaned.get("points"):
            self.add_error("points", _("Say how many points the customer gets."))
        if self.instance.pk:
            used = Usage.objects.filter(offer=self.instance).first()
            total, money = cleaned.get("limit_total"), self.minor("limit_money")
            if used is not None and total is not None and total < used.given:
                self.add_error("limit_total", _("%(given)s were given already.") % {"given": used.given})
            if used is not None and money is not None and money < used.spent_minor:
                self.add_error("limit_money", _("More than that is used already."))
        return cleaned


class OfferTextForm(forms.ModelForm):
    """A line of a table: its fields are named by the columns to whoever sees them, and by this to whoever does not."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs["aria-label"] = field.label

    def clean_text(self) -> str:
        text: str = self.cleaned_data["text"]
        offer_texts.check(text)
        return text


class OfferTextFormSet(BaseInlineFormSet):
    def clean(self) -> None:
        super().clean()
        if self.instance.products_fallback:
            return
        for form in self.forms:
            cleaned = getattr(form, "cleaned_data", {})
            if cleaned.get("DELETE") or cleaned.get("products_fallback"):
                continue
            if offer_texts.asks_products([cleaned.get("text") or ""]):
                form.add_error(
                    "products_fallback", _("Say what stands there for customers without a suggestion.")
                )


class OfferTextInline(TabularInline):
    model = OfferText
    form = OfferTextForm
    formset = OfferTextFormSet
    extra = 0
    fields = ("language", "text", "products_fallback")


@admin.register(Offer)
class OfferAdmin(RefusesLate, HouseAdmin):
    form = OfferForm
    inlines = (OfferTextInline,)
    change_form_outer_before_template = "tierwise/offer_status.html"
    fieldsets = (
        (None, {"fields": (("name", "slug"), "kind", "text", ("percentage", "points"), "is_active", "seen")}),
        (_("Products"), {"fields": (("products_count", "products_fallback"),)}),
        (_("Value and cost"), {"fields": (("value", "cost"),)}),
        (_("Codes"), {"fields": (("codes", "code"),)}),
        (_("Days"), {"fields": (("starts_on", "ends_on"), "valid_days")}),
        (_("Limits"), {"fields": (("limit_total", "limit_per_customer"), "limit_money")}),
    )
    list_display = ("name", "kind", "value", "cost", "given", "valid_days", "active_badge")
    list_select_related = ("usage",)
    list_filter = ("kind", "is_active")
    search_fields = ("name", "slug", "code")
    prepopulated_fields = {"slug": ["name"]}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.currency = Shop.get().base_currency
        return super().changelist_view(request, extra_context)

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/codes/", self.codes_view, "codes"),
            ("<int:pk>/text/", self.text_view, "text"),
        ]

    @admin.display(description=_("given"))
    def given(self, offer: Offer) -> str:
        used = getattr(offer, "usage", None)
        if used is None:
            return words.NOTHING
        if used.most is None:
            return words.number(used.given)
        return _t("%(given)s of %(most)s") % {
            "given": words.number(used.given),
            "most": words.number(used.most),
        }

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        saved(form.instance)
        limits.follow(form.instance)

    @post_only("segmentation.change_offer")
    def codes_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Codes from a file: one a line, or the first column of a CSV."""
        offer = get_object_or_404(Offer, pk=pk)
        upload = request.FILES.get("codes")
        try:
            if upload is None:
                raise offer_codes.CodesRefused(_t("Choose a file with one code a line."))
            done = offer_codes.load(offer, upload, by=request.user)
        except offer_codes.CodesRefused as error:
            self.refuse(request, error)
        else:
            messages.success(
                request,
                _t("%(new)s codes are new, %(known)s were known already.")
                % {"new": words.number(done.new), "known": words.number(done.known)},
            )
        return self.back_to(offer)

    def text_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """A panel: the texts as a customer would read them (?customer=reference; else the newest one)."""
        requires(request, "segmentation.view_offer")
        offer = get_object_or_404(Offer.objects.prefetch_related("texts"), pk=pk)
        people = Customer.objects.filter(merged_into=None)
        wanted = request.GET.get("customer", "")
        customer = people.filter(reference=wanted).first() if wanted else people.order_by("-pk").first()
        found = None if customer is None else offer_texts.preview(offer, customer, Shop.get())
        pool = offer_codes.left(offer) if offer.codes == Offer.Codes.POOL else None
        context = {
            "texts": found.texts.items() if found else (),
            "products": found.products if found else (),
            "asks_products": offer_texts.asks_products(offer_texts.all_texts(offer).values()),
            "customer": customer,
            "pool": pool,
            "offer": offer,
        }
        return TemplateResponse(request, "tierwise/offer_text.html", context)

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


@admin.register(Grant)
class GrantAdmin(ReadOnlyAdmin):
    """What was given, one by one; newest first."""

    list_display = ("whom", "offer", "campaign", "granted_at", "valid_until", "code", "state")
    # The first column leads to the customer: two links in one are none.
    list_display_links = ("granted_at",)
    list_select_related = ("customer", "offer", "campaign")
    list_filter = ("campaign", "offer")
    search_fields = ("code__exact",)
    search_help_text = _("A whole code")
    ordering = ("-id",)
    list_before_template = "tierwise/grants_hint.html"

    @admin.display(description=_("customer"))
    def whom(self, grant: Grant) -> SafeString:
        return customer_link(grant.customer)

    @admin.display(description=_("state"))
    def state(self, grant: Grant) -> SafeString:
        return badge(_("Has it")) if grant.ended_at is None else badge(_("Over"))


def customer_link(customer: Customer) -> SafeString:
    address = reverse("admin:segmentation_customer_change", args=[customer.pk])
    return format_html('<a class="tw-link" href="{}">{}</a>', address, customer.reference)


class SuppressionForm(OnceForm):
    reference = forms.CharField(label=_("Customer"), help_text=_("The id that the shop uses."))

    def clean_reference(self) -> str:
        reference: str = self.cleaned_data["reference"].strip()
        customer = Customer.objects.select_related("merged_into").filter(reference=reference).first()
        if customer is None:
            raise ValidationError(_("There is no customer with this id."))
        self.instance.customer = customer.merged_into or customer
        return reference

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields["reference"].initial = self.instance.customer.reference

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if not self.errors:
            same = Suppression.objects.filter(
                customer=self.instance.customer, channel=cleaned.get("channel") or ""
            ).exclude(pk=self.instance.pk)
            if same.exists():
                raise ValidationError(_("This customer is on the list already; edit that entry."))
        return cleaned


@admin.register(Suppression)
class SuppressionAdmin(EditedAdmin):
    form = SuppressionForm
    list_display = ("whom", "channel", "reason", "until", "created_at")
    list_select_related = ("customer",)
    search_fields = ("customer__reference__startswith",)
    fields = ("reference", "channel", "reason", "until", "seen")
    ordering = ("-id",)

    @admin.display(description=_("customer"))
    def whom(self, row: Suppression) -> str:
        return row.customer.reference

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        obj.created_by = obj.created_by or request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)
        due.mark_due([obj.customer_id], cause="suppression")

    def delete_model(self, request: HttpRequest, obj: Suppression) -> None:
        customer_id = obj.customer_id
        super().delete_model(request, obj)
        due.mark_due([customer_id], cause="suppression")
