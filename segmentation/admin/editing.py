"""Forms that several people may have open at once, amounts in the shop's currency, and days of the week."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar, Final

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db.models import F
from django.http import HttpRequest, HttpResponseRedirect
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminDecimalFieldWidget as DecimalWidget

from segmentation.admin.base import HouseAdmin
from segmentation.admin.rule_widget import RuleField, RuleWidget
from segmentation.models import Shop
from segmentation.models.edited import Edited

# Whole units of the currency: far above any shop's, far below what a column of the smallest unit holds.
MOST_MONEY: Final = 10**12
# Ten years: a longer wait or validity is a slip of the keyboard, and thousands of years are in no calendar.
MOST_DAYS: Final = 3650
WEEKDAYS = (
    (0, _("Monday")),
    (1, _("Tuesday")),
    (2, _("Wednesday")),
    (3, _("Thursday")),
    (4, _("Friday")),
    (5, _("Saturday")),
    (6, _("Sunday")),
)
OVERTAKEN = _(
    "Somebody else saved this meanwhile. Open the page anew, look at what changed, and repeat your edit."
)


class OnceForm(forms.ModelForm):
    """Refused when somebody else has saved the row since the page was opened."""

    seen = forms.IntegerField(required=False, widget=forms.HiddenInput, label="")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "seen" in self.fields:
            self.fields["seen"].initial = getattr(self.instance, "edit_version", 0)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        seen = cleaned.get("seen")
        if self.instance.pk and seen is not None:
            rows = type(self.instance)._default_manager.select_for_update()
            now = rows.values_list("edit_version", flat=True).filter(pk=self.instance.pk).first()
            if now is not None and now != seen:
                raise ValidationError(OVERTAKEN)
        return cleaned


def saved(row: Edited) -> None:
    """Whoever has the row's page open is told when they save."""
    type(row)._default_manager.filter(pk=row.pk).update(edit_version=F("edit_version") + 1)


class EditedAdmin(HouseAdmin):
    """The page of an Edited row that its form (a OnceForm) alone changes."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        saved(obj)


class BoundedForm(forms.ModelForm):
    """Refuses counts that nothing could be worked out with. most: form field → its greatest value."""

    most: ClassVar[dict[str, int]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.most.keys() & self.fields.keys():
            self.fields[name].validators.append(MaxValueValidator(self.most[name]))
            self.fields[name].widget.attrs["max"] = self.most[name]


class MoneyForm(forms.ModelForm):
    """Amounts are typed in the shop's currency and kept in its smallest unit; an empty optional one stays empty."""

    # form field → model field; those in `optional_money` may be empty.
    money: ClassVar[dict[str, str]] = {}
    optional_money: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shop = Shop.get()
        self.minor_per_major = shop.minor_per_major
        for name, column in self.money.items():
            field = self.fields.get(name)
            if field is None:
                continue
            stored = getattr(self.instance, column)
            field.initial = None if stored is None else Decimal(stored) / self.minor_per_major
            field.help_text = f"{field.help_text} {shop.base_currency}".strip()

    def minor(self, name: str) -> int | None:
        amount = self.cleaned_data.get(name)
        if amount is None:
            return None if name in self.optional_money else 0
        return int((amount * self.minor_per_major).to_integral_value())

    def save(self, commit: bool = True) -> Any:
        for name, column in self.money.items():
            if name in self.fields:
                setattr(self.instance, column, self.minor(name))
        return super().save(commit)


def money_field(label: Any, help_text: Any = "") -> forms.DecimalField:
    return forms.DecimalField(
        label=label,
        min_value=0,
        max_value=MOST_MONEY,
        required=False,
        widget=DecimalWidget,
        help_text=help_text,
    )


def weekday_field(label: Any, help_text: Any = "") -> forms.TypedMultipleChoiceField:
    return forms.TypedMultipleChoiceField(
        label=label,
        choices=WEEKDAYS,
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "tw-days"}),
        help_text=help_text,
    )


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


class RefusesLate:
    """Mixed into a HouseAdmin: a ValidationError of saving, when somebody was quicker than the form's own checks,
    undoes the whole edit and is said on the page."""

    def changeform_view(
        self: Any,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)  # type: ignore[misc]
        except ValidationError as error:
            for problem in error.messages:
                self.refuse(request, problem)
        return HttpResponseRedirect(self.url("change", object_id) if object_id else self.url("add"))
