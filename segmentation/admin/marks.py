"""Labels that staff give: from the page of one customer, and for customers ticked in the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.widgets import UnfoldAdminSelectWidget

from segmentation import marks
from segmentation.admin.base import View, post_only, requires
from segmentation.models import Customer, Target

MARK = "segmentation.add_attributevalue"


class MarkForm(forms.Form):
    """Which label of which target; an empty label takes it away."""

    choice = forms.ChoiceField(
        label=_("Label"),
        widget=UnfoldAdminSelectWidget,
        help_text=_("An example for the next training. It does not change today's score."),
    )

    def __init__(self, *args: Any, wanted: Sequence[Target], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.by_slug = {target.slug: target for target in wanted}
        self.fields["choice"].choices = [  # type: ignore[attr-defined]
            (
                target.name,
                [
                    *((f"{target.slug}:{label}", label) for label in marks.labels(target)),
                    (f"{target.slug}:", _("no label")),
                ],
            )
            for target in wanted
        ]

    def chosen(self) -> tuple[Target, str]:
        slug, _colon, label = self.cleaned_data["choice"].partition(":")
        return self.by_slug[slug], label


class MarkDoors:
    """Needs the methods of HouseAdmin."""

    def mark_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/mark/", self.mark_view, "mark"),
            ("mark/", self.mark_many_view, "mark_many"),
        ]

    def has_mark_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(MARK)

    @admin.action(description=_("Give a label…"), permissions=["mark"])
    def mark_selected(self: Any, request: HttpRequest, queryset: QuerySet[Customer]) -> HttpResponse | None:
        """The ticked customers; which label is asked on the next page."""
        ticked = list(queryset.order_by("pk")[: marks.MOST_AT_ONCE + 1])
        if len(ticked) > marks.MOST_AT_ONCE:
            self.refuse(
                request,
                _t("More than %(most)s customers are ticked. Import a list with a label column.")
                % {"most": marks.MOST_AT_ONCE},
            )
            return None
        return self._mark_page(request, MarkForm(wanted=marks.markable()), ticked)

    @post_only(MARK)
    def mark_many_view(self: Any, request: HttpRequest) -> HttpResponse:
        requires(request, "segmentation.view_customer")
        keys = [int(key) for key in request.POST.getlist("customers") if key.isdecimal() and len(key) < 19]
        ticked = list(Customer.objects.filter(pk__in=keys[: marks.MOST_AT_ONCE]).order_by("pk"))
        form = MarkForm(request.POST, wanted=marks.markable())
        if self._mark(request, form, ticked):
            return HttpResponseRedirect(self.url("changelist"))
        return self._mark_page(request, form, ticked)

    def mark_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_customer")
        requires(request, MARK)
        customer = get_object_or_404(Customer, pk=pk)
        form = MarkForm(request.POST or None, wanted=marks.markable())
        if request.method == "POST" and self._mark(request, form, [customer]):
            return HttpResponseRedirect(self.url("change", customer.pk))
        return self._mark_page(request, form, [customer])

    def _mark(self: Any, request: HttpRequest, form: MarkForm, customers: Sequence[Customer]) -> bool:
        """Whether it was done; else the form says why not."""
        if not form.is_valid():
            return False
        target, label = form.chosen()
        try:
            count = marks.put(customers, target, label, by=request.user)
        except marks.MarkError as error:
            form.add_error(None, str(error))
            return False
        told = ngettext("%(count)s customer marked anew.", "%(count)s customers marked anew.", count)
        messages.success(request, told % {"count": count})
        return True

    def _mark_page(
        self: Any, request: HttpRequest, form: MarkForm, customers: Sequence[Customer]
    ) -> HttpResponse:
        one = customers[0] if len(customers) == 1 else None
        title = (
            _t("Give %(reference)s a label") % {"reference": one.reference}
            if one is not None
            else ngettext(
                "Give %(count)s customer a label", "Give %(count)s customers a label", len(customers)
            )
            % {"count": len(customers)}
        )
        return self.page(
            request,
            "tierwise/mark.html",
            title=title,
            object=one,
            form=form,
            customers=customers,
            action=self.url("mark", one.pk) if one else self.url("mark_many"),
            back=self.url("change", one.pk) if one else self.url("changelist"),
            history=marks.history(one) if one else [],
        )
