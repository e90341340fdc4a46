"""Customers: the list, the page of one, and the shop's own attributes."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from segmentation import contacts, reasons
from segmentation.admin import customer_filters as filters
from segmentation.admin.base import HouseAdmin, ReadOnlyAdmin, View, badge, post_only, requires
from segmentation.dashboard import customer_page, score_views, words
from segmentation.models import (
    AttributeDefinition,
    AuditEntry,
    Customer,
    CustomerIdentity,
    DueCustomer,
    LeaseState,
    Membership,
    Shop,
)

SEGMENTS_SHOWN = 2
SEE_CONTACT = "segmentation.view_contactdata"
SEE_IDENTITIES = "segmentation.view_customeridentity"


@admin.register(Customer)
class CustomerAdmin(ReadOnlyAdmin):
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
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        current = Membership.objects.select_related("segment").order_by("segment__name")
        rows = super().get_queryset(request).filter(merged_into=None)
        return rows.prefetch_related(Prefetch("memberships", queryset=current))

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
        return super().changelist_view(request, extra_context)

    # --- columns
    @admin.display(description=_("tier"), ordering="tier")
    def tier_badge(self, customer: Customer) -> SafeString | str:
        if not customer.tier:
            return words.NOTHING
        return badge(words.tier(customer.tier), words.tier_tone(customer.tier))

    @admin.display(description=_("risk"), ordering="churn_probability")
    def risk_words(self, customer: Customer) -> SafeString | words.Text:
        if customer.churn_probability is None:
            return words.abstain(customer.abstain_reason) or words.NOTHING
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
        return render(request, "tierwise/scores.html", {"scores": scores})


def is_waiting(customer_id: int) -> bool:
    return DueCustomer.objects.filter(
        customer=customer_id, state__in=[LeaseState.QUEUED, LeaseState.RUNNING]
    ).exists()


@admin.register(AttributeDefinition)
class AttributeDefinitionAdmin(HouseAdmin):
    list_display = ("label", "slug", "kind", "is_feature", "is_rule_field", "is_label")
    list_filter = ("kind", "is_feature", "is_label")
    search_fields = ("slug", "label")
    prepopulated_fields = {"slug": ["label"]}
