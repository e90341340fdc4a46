"""Requests of people about their data: the list, the page of one, and the answer to download."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.widgets import UnfoldAdminTextInputWidget

from segmentation import privacy
from segmentation.admin.base import View, WorkAdmin, badge, post_only, requires
from segmentation.dashboard import privacy_page, progress, words
from segmentation.models import AuditEntry, Customer, LeaseState, PrivacyRequest

ERASE = "segmentation.erase_customer"
EXPORT = "segmentation.export_customer_data"
DOOR = "admin"


class EraseForm(forms.Form):
    """Typed by hand, so that nobody is erased by a slip."""

    reference = forms.CharField(
        label=_("Type the customer's number to confirm"), widget=UnfoldAdminTextInputWidget
    )
    reason = forms.CharField(
        label=_("Reason"),
        max_length=300,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Such as “asked by e-mail on 3 May”. It is kept: name nobody."),
    )

    wrong = _("This is not the number of this customer.")

    def __init__(self, *args: Any, expected: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.expected = expected

    def clean_reference(self) -> str:
        given: str = self.cleaned_data["reference"]
        if given.strip() != self.expected:
            raise forms.ValidationError(self.wrong)
        return given


class PrivacyDoors:
    """Two buttons on a customer's page (mixed into its admin)."""

    def privacy_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/erase/", self.erase_view, "erase"),
            ("<int:pk>/export/", self.export_view, "export"),
        ]

    def erase_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        """What goes, and the typed number; POST queues the erasure."""
        requires(request, "segmentation.view_customer")
        requires(request, ERASE)
        customer = get_object_or_404(Customer, pk=pk)
        form = EraseForm(request.POST or None, expected=customer.reference)
        if request.method == "POST" and form.is_valid():
            row = privacy.request_for(
                customer,
                privacy.Kind.ERASE,
                source=DOOR,
                requested_by=request.user,
                reason=form.cleaned_data["reason"],
            )
            messages.info(request, _t("The person will be erased within minutes."))
            return to_page(row)
        return self.page(
            request,
            "tierwise/erase_customer.html",
            title=_t("Erase %(customer)s?") % {"customer": customer.reference},
            object=customer,
            customer=customer,
            form=form,
            goes=privacy_page.what_goes(customer),
        )

    @post_only(EXPORT)
    def export_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_customer")
        customer = get_object_or_404(Customer, pk=pk)
        row = privacy.request_for(customer, privacy.Kind.EXPORT, source=DOOR, requested_by=request.user)
        return to_page(row)


def to_page(row: PrivacyRequest) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("admin:segmentation_privacyrequest_change", args=[row.pk]))


@admin.register(PrivacyRequest)
class PrivacyRequestAdmin(WorkAdmin):
    list_display = ("number", "kind", "state_badge", "source", "created_at", "due", "finished_at", "held")
    list_display_links = ("number", "kind")
    list_filter = (("kind", ChoicesCheckboxFilter), ("state", ChoicesCheckboxFilter))
    ordering = ("-id",)

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/progress/", self.progress_view, "progress"),
            ("<int:pk>/answer/", self.answer_view, "answer"),
            ("<int:pk>/again/", self.again_view, "again"),
        ]

    # --- columns
    @admin.display(description=_("request"), ordering="id")
    def number(self, row: PrivacyRequest) -> str:
        return f"#{row.pk}"

    @admin.display(description=_("to be answered by"), ordering="due_at")
    def due(self, row: PrivacyRequest) -> SafeString:
        return badge(words.moment(row.due_at), "bad" if privacy_page.is_late(row) else "plain")

    @admin.display(description=_("something was held"))
    def held(self, row: PrivacyRequest) -> Any:
        return words.NOTHING if row.is_held is None else words.plain(row.is_held)

    # --- the page of one request
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        requires(request, "segmentation.view_privacyrequest")
        row = get_object_or_404(PrivacyRequest.objects.select_related("requested_by"), pk=object_id)
        return self.page(
            request,
            "tierwise/privacy_request.html",
            title=_t("Privacy request #%(number)s") % {"number": row.pk},
            object=row,
            row=row,
            live=progress.privacy(row),
            facts=privacy_page.facts(row),
            may_answer=row.result is not None and request.user.has_perm(EXPORT),
            may_repeat=row.state == LeaseState.FAILED and request.user.has_perm(_permission(row)),
        )

    def progress_view(self, request: HttpRequest, pk: int) -> JsonResponse:
        requires(request, "segmentation.view_privacyrequest")
        return JsonResponse(progress.privacy(get_object_or_404(PrivacyRequest, pk=pk)))

    @method_decorator(never_cache)
    def answer_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Everything about a person, so each download is written down. A POST: a link in a mail must not fetch it."""
        return post_only(EXPORT)(PrivacyRequestAdmin._answer)(self, request, pk)

    def _answer(self, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_privacyrequest")
        row = get_object_or_404(PrivacyRequest, pk=pk)
        document = privacy.answer(row)
        if document is None:
            raise Http404
        AuditEntry.record("privacy.downloaded", row, actor=request.user, customers=row.customers)
        headers = {"Content-Disposition": f'attachment; filename="privacy-request-{row.pk}.json"'}
        return HttpResponse(document, content_type="application/json", headers=headers)

    def again_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        # Before the row is looked for: who may not see requests does not learn which there are.
        requires(request, "segmentation.view_privacyrequest")
        row = get_object_or_404(PrivacyRequest, pk=pk)
        return post_only(_permission(row))(PrivacyRequestAdmin._again)(self, request, row)

    def _again(self, request: HttpRequest, row: PrivacyRequest) -> HttpResponse:
        try:
            privacy.again(row, actor=request.user)
        except privacy.NotAsked as error:
            self.refuse(request, error)
        return self.back_to(row)


def _permission(row: PrivacyRequest) -> str:
    return EXPORT if row.kind == PrivacyRequest.Kind.EXPORT else ERASE
