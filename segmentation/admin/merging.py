"""Two customers are one person, or are not after all: a preview first, then a button that posts to the service."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextInputWidget

from segmentation import identities
from segmentation.admin.base import View, requires
from segmentation.admin.customer_filters import namespaces
from segmentation.dashboard import merge_page
from segmentation.models import Customer, CustomerIdentity

MERGE = "segmentation.merge_customer"
VIEW = "segmentation.view_customer"
SEE_IDENTITIES = "segmentation.view_customeridentity"


class OtherForm(forms.Form):
    """Whom to merge: by the shop's number, or by the id of another system."""

    other = forms.CharField(
        label=_("Number or other id of the customer to take in"),
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
    )

    def __init__(self, *args: Any, by_identity: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.by_identity = by_identity

    def clean_other(self) -> Customer:
        given = self.cleaned_data["other"].strip()
        found = Customer.objects.filter(reference=given).first()
        if found is None and self.by_identity:
            named = CustomerIdentity.objects.filter(namespace__in=namespaces(), value=given)
            row = named.select_related("customer").first()
            found = row.customer if row is not None else None
        if found is None:
            raise ValidationError(_t("No customer has this number or id."))
        return found


class MergeDoors:
    """Mixed into the admin of customers."""

    def merge_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/merge/", self.merge_view, "merge"),
            ("<int:pk>/split/", self.split_view, "split"),
        ]

    def merge_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        """GET with `other`: the preview. POST: merge, if it is still what the preview showed."""
        requires(request, VIEW)
        requires(request, MERGE)
        customer = get_object_or_404(Customer, pk=pk)
        told = request.POST if request.method == "POST" else request.GET
        form = OtherForm(told if "other" in told else None, by_identity=request.user.has_perm(SEE_IDENTITIES))
        preview, other = None, None
        if form.is_bound and form.is_valid():
            other = form.cleaned_data["other"]
            try:
                preview = merge_page.merge(customer, other)
                if request.method == "POST" and _confirmed(request, preview):
                    identities.merge(customer, other, actor=request.user)
                    messages.success(
                        request, _t("%(old)s is now a part of this customer.") % {"old": other.reference}
                    )
                    return HttpResponseRedirect(self.url("change", customer.pk))
            except identities.MergeError as error:
                form.add_error("other", str(error))
        return self.page(
            request,
            "tierwise/merge.html",
            title=_t("Merge into %(customer)s") % {"customer": customer.reference},
            object=customer,
            customer=customer,
            other=other,
            form=form,
            preview=preview,
        )

    def split_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, VIEW)
        requires(request, MERGE)
        customer = get_object_or_404(Customer.objects.select_related("merged_into"), pk=pk)
        try:
            preview = merge_page.split(customer)
            if request.method == "POST" and _confirmed(request, preview):
                identities.split(customer, actor=request.user)
                messages.success(request, _t("%(old)s stands apart again.") % {"old": customer.reference})
                return HttpResponseRedirect(self.url("change", customer.pk))
        except identities.MergeError as error:
            self.refuse(request, error)
            return HttpResponseRedirect(self.url("change", customer.pk))
        return self.page(
            request,
            "tierwise/split.html",
            title=_t("Split off %(customer)s") % {"customer": customer.reference},
            object=customer,
            customer=customer,
            preview=preview,
        )


def _confirmed(request: HttpRequest, preview: merge_page.Preview) -> bool:
    """Whether the reader saw this preview: what changed in between is shown first."""
    if request.POST.get("stamp") == preview.stamp:
        return True
    if "stamp" in request.POST:
        messages.warning(request, _t("Something changed meanwhile. Look at the new preview, then confirm."))
    return False
