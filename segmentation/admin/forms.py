"""Forms of our own pages."""

from __future__ import annotations

from datetime import date
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget
from unfold.widgets import UnfoldAdminTextInputWidget as TextInput

from segmentation.ml.config import PRESETS
from segmentation.models import Target

PRESET_WORDS = {
    "fast": _("Fast: a small network; minutes"),
    "default": _("Default: an ensemble of networks; more exact, slower"),
}


class TrainForm(forms.Form):
    """What to learn, how thoroughly, and the seed that makes it repeatable."""

    targets = forms.ModelMultipleChoiceField(
        label=_("What to learn"),
        queryset=Target.objects.filter(is_active=True),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": _("Choose at least one target to train.")},
    )
    preset = forms.ChoiceField(label=_("How thoroughly"), widget=UnfoldAdminSelectWidget)
    seed = forms.IntegerField(
        label=_("Seed"),
        min_value=0,
        max_value=2**31 - 1,
        initial=1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=_("The same seed and data give the same model on the same machine."),
    )
    cutoffs = forms.CharField(
        label=_("Days to learn from"),
        required=False,
        widget=TextInput,
        help_text=_("Dates such as 2011-03-12, 2011-06-12. Empty: chosen from the data."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        preset = self.fields["preset"]
        preset.choices = [(name, PRESET_WORDS.get(name, name)) for name in PRESETS]  # type: ignore[attr-defined]
        preset.initial = "default"
        if not self.is_bound:
            self.fields["targets"].initial = Target.objects.filter(is_active=True)

    def clean_cutoffs(self) -> list[date]:
        days = []
        for part in self.cleaned_data["cutoffs"].replace(";", ",").split(","):
            if text := part.strip():
                try:
                    days.append(date.fromisoformat(text))
                except ValueError as error:
                    message = _("“%(text)s” is not a date; write it as 2011-06-12.")
                    raise ValidationError(message, params={"text": text}) from error
        return days


class ReasonForm(forms.Form):
    """A sentence for the history."""

    reason = forms.CharField(
        label=_("Why"),
        required=False,
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text=_("Kept with the promotion, for whoever asks later."),
    )
