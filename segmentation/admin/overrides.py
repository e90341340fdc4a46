"""A class that staff set for one customer: the form, and the button that lifts it (mixed into the customer's admin)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminDateWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from segmentation import overrides, targets
from segmentation.admin.base import View, post_only, requires
from segmentation.dashboard import words
from segmentation.models import Customer, ScoreOverride, Target

SET = "segmentation.add_scoreoverride"
LIFT = "segmentation.change_scoreoverride"


class OverrideForm(forms.Form):
    """Which class, why, and until when."""

    choice = forms.ChoiceField(label=_("Class"), widget=UnfoldAdminSelectWidget)
    reason = forms.CharField(
        label=_("Why"),
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text=_("Shown wherever the class is. The customer may ask to see it."),
    )
    last_day = forms.DateField(
        label=_("Last day"),
        required=False,
        widget=UnfoldAdminDateWidget(attrs={"type": "date"}),
        help_text=_("Empty: until somebody lifts it."),
    )

    def __init__(self, *args: Any, wanted: list[Target], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.by_slug = {target.slug: target for target in wanted}
        self.fields["choice"].choices = [  # type: ignore[attr-defined]
            (target.name, [(f"{target.slug}:{name}", words.tier(name)) for name in overrides.choices(target)])
            for target in wanted
        ]

    def chosen(self) -> tuple[Target, str]:
        slug, _colon, label = self.cleaned_data["choice"].partition(":")
        return self.by_slug[slug], label


class OverrideDoors:
    """Needs the methods of HouseAdmin."""

    def override_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/override/", self.override_view, "override"),
            ("<int:pk>/override/<int:override_pk>/lift/", self.lift_view, "override_lift"),
        ]

    def override_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_customer")
        requires(request, SET)
        customer = get_object_or_404(Customer, pk=pk)
        wanted = [target for target in targets.active() if targets.is_class_target(target)]
        form = OverrideForm(request.POST or None, wanted=wanted)
        if request.method == "POST" and form.is_valid():
            target, label = form.chosen()
            try:
                overrides.put(
                    customer,
                    target,
                    label,
                    reason=form.cleaned_data["reason"],
                    by=request.user,
                    last_day=form.cleaned_data["last_day"],
                )
            except overrides.OverrideError as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, _t("Set. The customer is being decided anew."))
                return HttpResponseRedirect(self.url("change", customer.pk))
        return self.page(
            request,
            "tierwise/override.html",
            title=_t("Set a class for %(reference)s") % {"reference": customer.reference},
            object=customer,
            customer=customer,
            form=form,
            has_targets=bool(wanted),
        )

    @post_only(LIFT)
    def lift_view(self: Any, request: HttpRequest, pk: int, override_pk: int) -> HttpResponse:
        override = get_object_or_404(ScoreOverride, pk=override_pk)
        if overrides.lift(override, by=request.user):
            messages.success(request, _t("Lifted. The model decides again."))
        else:
            messages.info(request, _t("It had ended already."))
        return HttpResponseRedirect(self.url("change", pk))
