"""Customers: the list, the page of one, and the shop's own attributes."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Min, Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from segmentation import contacts, decisions, overrides, reasons, service
from segmentation.admin import customer_filters as filters
from segmentation.admin.base import ReadOnlyAdmin, View, badge, post_only, requires
from segmentation.admin.forms import PriorityOverrideForm
from segmentation.admin.marks import MarkDoors
from segmentation.admin.merging import MergeDoors
from segmentation.admin.overrides import OverrideDoors
from segmentation.admin.privacy import PrivacyDoors
from segmentation.admin.questions import QuestionDoors
from segmentation.dashboard import customer_page, score_views, words
from segmentation.models import (
    AuditEntry,
    Campaign,
    Customer,
    CustomerIdentity,
    DueCustomer,
    LeaseState,
    Membership,
    Shop,
    Target,
)

SEGMENTS_SHOWN = 2
SEE_CONTACT = "segmentation.view_contactdata"
SEE_IDENTITIES = "segmentation.view_customeridentity"


@admin.register(Customer)
class CustomerAdmin(OverrideDoors, MarkDoors, QuestionDoors, PrivacyDoors, MergeDoors, ReadOnlyAdmin):
    list_display = (
        "reference",
        "tier_badge",
        "risk_words",
        "segment_names",
        "offer",
        "priority_badge",
        "last_order",
        "bought",
        "expected",
    )
    list_filter = (
        filters.TierFilter,
        filters.RiskFilter,
        filters.SegmentFilter,
        filters.OfferFilter,
        filters.PriorityFilter,
        filters.CountryFilter,
    )
    list_select_related = ("current_offer",)
    actions = ("mark_selected",)
    search_fields = ("reference",)
    search_help_text = _("Customer number, other id or whole e-mail")
    list_before_template = "tierwise/customer_search.html"
    sorts_by_one_column = True
    # Urgent first; the order is an index (customer_by_priority), so the first page reads only its own rows.
    # Behind a filter the newest come first, in the order of the filter's own index.
    ordering = ("-priority", "-id")

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/rescore/", self.rescore_view, "rescore"),
            ("<int:pk>/state/", self.state_view, "state"),
            ("<int:pk>/scores/", self.scores_view, "scores"),
            ("<int:pk>/contact/", self.contact_view, "contact"),
            ("<int:pk>/why/", self.why_view, "why"),
            ("<int:pk>/priority/", self.priority_view, "priority"),
            *self.override_urls(),
            *self.mark_urls(),
            *self.question_urls(),
            *self.privacy_urls(),
            *self.merge_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        current = Membership.objects.select_related("segment").order_by("segment__name")
        rows = super().get_queryset(request).filter(merged_into=None)
        said = overrides.in_force().filter(target__kind=Target.Kind.VALUE_TIER)
        return rows.prefetch_related(
            Prefetch("memberships", queryset=current),
            Prefetch("overrides", queryset=said, to_attr="set_tiers"),
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        """E-mails are sealed: a whole address is found by its blind index, everything else by number."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if "@" in term:
            return self._with_email(request, queryset, term), False
        by_number = queryset.filter(reference__startswith=term)
        if by_number.exists() or not request.user.has_perm(SEE_IDENTITIES):
            return by_number, False
        known = CustomerIdentity.objects.filter(namespace__in=filters.namespaces(), value=term)
        return queryset.filter(pk__in=known.values("customer")), False

    def _with_email(self, request: HttpRequest, queryset: QuerySet, email: str) -> QuerySet:
        """Whose address this is, is contact data: the same permission, and the look is written down."""
        if not request.user.has_perm(SEE_CONTACT):
            messages.warning(
                request, _("Your role does not show contact data, so it cannot search by e-mail.")
            )
            return queryset.none()
        found = contacts.find_by_email(email)
        AuditEntry.record("email_searched", found, actor=request.user, found=found is not None)
        return queryset.filter(pk=found.pk) if found else queryset.none()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.shop = Shop.get()
        behaviour = Target.objects.filter(is_active=True).exclude(kind=Target.Kind.CATEGORY)
        self.needed = behaviour.aggregate(least=Min("min_orders"))["least"]
        return super().changelist_view(request, extra_context)

    # --- columns
    @admin.display(description=_("tier"), ordering="tier")
    def tier_badge(self, customer: Customer) -> SafeString | str:
        if not customer.tier:
            return words.NOTHING
        mark = badge(words.tier(customer.tier), words.tier_tone(customer.tier))
        # Prefetched for lists alone.
        if not getattr(customer, "set_tiers", None):
            return mark
        return format_html('{}<div class="tw-hint">{}</div>', mark, _("set by staff"))

    @admin.display(description=_("risk"), ordering="churn_probability")
    def risk_words(self, customer: Customer) -> SafeString | words.Text:
        if customer.churn_probability is None:
            return (
                words.abstain(customer.abstain_reason, orders=customer.orders, needed=self.needed)
                or words.NOTHING
            )
        return badge(words.risk(customer.churn_probability), words.risk_band(customer.churn_probability).tone)

    @admin.display(description=_("segments"))
    def segment_names(self, customer: Customer) -> SafeString | str:
        names = [membership.segment.name for membership in customer.memberships.all()]
        shown = [badge(name) for name in names[:SEGMENTS_SHOWN]]
        if more := names[SEGMENTS_SHOWN:]:
            # Kept on the line of the last one, so that a row takes two lines and not three.
            mark = format_html('<span class="tw-label" title="{}">+{}</span>', ", ".join(more), len(more))
            shown[-1] = format_html('<span class="tw-nowrap">{} {}</span>', shown[-1], mark)
        return format_html_join(" ", "{}", ((one,) for one in shown)) or words.NOTHING

    @admin.display(description=_("service"), ordering="priority")
    def priority_badge(self, customer: Customer) -> SafeString:
        return badge(customer.get_priority_display(), words.PRIORITY_TONES[customer.priority])

    @admin.display(description=_("offer"))
    def offer(self, customer: Customer) -> str:
        return customer.current_offer.name if customer.current_offer else words.NOTHING

    @admin.display(description=_("last order"), ordering="last_order_at")
    def last_order(self, customer: Customer) -> str:
        return words.day(customer.last_order_at, self.shop, short=True)

    @admin.display(description=_("orders"), ordering="orders")
    def bought(self, customer: Customer) -> SafeString:
        """How many, and for how much: one column, so that a laptop shows them all."""
        spent = words.money(customer.spent_minor, self.shop.base_currency, whole=True)
        return format_html('{}<div class="tw-hint">{}</div>', words.number(customer.orders), spent)

    @admin.display(description=_("expected"), ordering="future_value_minor")
    def expected(self, customer: Customer) -> str:
        return words.money(customer.future_value_minor, self.shop.base_currency, whole=True)

    # --- the page of one customer
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        requires(request, "segmentation.view_customer")
        customer = get_object_or_404(
            Customer.objects.select_related("current_offer", "merged_into"), pk=object_id
        )
        if customer.merged_into_id:
            messages.info(request, _("%(old)s was merged into this customer.") % {"old": customer.reference})
            return HttpResponseRedirect(self.url("change", customer.merged_into_id))
        return self._customer_page(request, customer)

    def _customer_page(self, request: HttpRequest, customer: Customer, contact: Any = None) -> HttpResponse:
        page = customer_page.build(customer, request.user, request.GET)
        if page.texts_read:
            AuditEntry.record("texts_read", customer, actor=request.user, count=page.texts_read)
        return self.page(
            request,
            "tierwise/customer.html",
            title=customer.reference,
            object=customer,
            customer=customer,
            page=page,
            contact=contact,
        )

    @method_decorator(never_cache)
    def contact_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Contact data is shown on request only, and every look is written down."""
        requires(request, "segmentation.view_customer")
        requires(request, SEE_CONTACT)
        customer = get_object_or_404(Customer, pk=pk)
        if request.method != "POST":
            return self.back_to(customer)
        AuditEntry.record("contact_read", customer, actor=request.user)
        return self._customer_page(request, customer, contact=contacts.read(customer) or contacts.Contact())

    @post_only("segmentation.add_duecustomer")
    def rescore_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        from segmentation import ingest

        customer = get_object_or_404(Customer, pk=pk)
        ingest.mark_due([customer.pk], cause="asked")
        AuditEntry.record("rescore_asked", customer, actor=request.user)
        return self.back_to(customer)

    def why_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Why a customer gets, or does not get, one campaign (?campaign=id)."""
        requires(request, "segmentation.view_customer")
        requires(request, "segmentation.view_decision")
        customer = get_object_or_404(Customer.objects.select_related("merged_into"), pk=pk)
        wanted = request.GET.get("campaign", "")
        campaign = get_object_or_404(Campaign, pk=int(wanted) if wanted.isdecimal() else 0)
        return self.page(
            request,
            "tierwise/why.html",
            title=_("%(customer)s and “%(campaign)s”")
            % {"customer": customer.reference, "campaign": campaign.name},
            customer=customer,
            answer=decisions.why(customer.merged_into or customer, campaign),
        )

    @post_only("segmentation.add_priorityoverride")
    def priority_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Set the service priority by hand, with a reason and an end, or give it back to the rules."""
        customer = get_object_or_404(Customer, pk=pk)
        if request.POST.get("end"):
            service.end_override(customer, by=request.user)
            return self.back_to(customer)
        form = PriorityOverrideForm(request.POST)
        if not form.is_valid():
            for errors in form.errors.values():
                self.refuse(request, " ".join(str(error) for error in errors))
            return self.back_to(customer)
        given = form.cleaned_data
        try:
            service.override(
                customer, given["level"], reason=given["reason"], until=given["until"], by=request.user
            )
        except service.ServiceRefused as error:
            self.refuse(request, error)
        else:
            messages.success(request, _("Set; the customer is decided anew in a moment."))
        return self.back_to(customer)

    def state_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """For the open page: is the customer still waiting to be rescored?"""
        requires(request, "segmentation.view_customer")
        return JsonResponse({"waiting": is_waiting(pk)})

    def scores_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """For the open page: the scores with their reasons, 202 while a worker has not found them yet."""
        requires(request, "segmentation.view_customer")
        customer = get_object_or_404(Customer, pk=pk)
        if reasons.missing(pk).exists():
            return HttpResponse(status=202)
        scores = score_views.of_customer(customer, Shop.get())
        return render(request, "tierwise/scores.html", {"scores": scores, "customer": customer})


def is_waiting(customer_id: int) -> bool:
    return DueCustomer.objects.filter(
        customer=customer_id, state__in=[LeaseState.QUEUED, LeaseState.RUNNING]
    ).exists()
