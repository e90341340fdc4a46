"""Forms of our own pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget
from unfold.widgets import UnfoldAdminTextInputWidget as TextInput

from segmentation.dashboard import model_words, train_words
from segmentation.ml import families
from segmentation.ml.config import CHOICES, PRESETS
from segmentation.models import Target
from segmentation.models.customers import PriorityLevel


class TrainForm(forms.Form):
    """What to learn, how thoroughly, and the seed that makes it repeatable."""

    targets = forms.ModelMultipleChoiceField(
        label=_("What to learn"),
        queryset=Target.objects.filter(is_active=True),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": _("Choose at least one target to train.")},
    )
    preset = forms.ChoiceField(label=_("How thoroughly"), widget=UnfoldAdminSelectWidget)
    algorithms = forms.MultipleChoiceField(
        label=_("Algorithms"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_(
            "None chosen: purchase model, logistic regression, LightGBM, the network named above, and the mean of three "
            "of them. One: it is the candidate itself. Several: their blend is. All of them are compared on one page."
        ),
    )
    search = forms.IntegerField(
        label=_("Trials of other settings"),
        required=False,
        min_value=0,
        max_value=200,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=_(
            "For each network, forest and LightGBM, on earlier days; 0 or empty: none. Each costs a training."
        ),
    )
    privacy_epsilon = forms.FloatField(
        label=_("Differential privacy: ε at most"),
        required=False,
        min_value=0,
        max_value=100,
        widget=TextInput,
        help_text=_(
            "For one network alone (MLP, TabM or FT-Transformer): noise hides whether a customer was learned from. "
            "Smaller is safer and less exact; 1 to 8 is usual, empty is none."
        ),
    )
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

    def __init__(self, *args: Any, asked: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        preset, algorithms = self.fields["preset"], self.fields["algorithms"]
        preset.choices = [(name, train_words.PRESETS.get(name, name)) for name in PRESETS]  # type: ignore[attr-defined]
        preset.initial = "default"
        algorithms.choices = algorithm_choices()  # type: ignore[attr-defined]
        for name, options in CHOICES.items():
            self.fields[name] = forms.ChoiceField(
                label=str(train_words.SETTINGS[name][0]),
                required=False,
                widget=UnfoldAdminSelectWidget,
                choices=[(value, train_words.value(value)) for value in options],
                initial=options[0],
                help_text=str(train_words.SETTINGS[name][1]),
            )
        if not self.is_bound:
            self._start(asked or {})

    def _start(self, asked: Mapping[str, Any]) -> None:
        """What is ticked at first: every target, or what a link asks for."""
        active = Target.objects.filter(is_active=True)
        slug = asked.get("target")
        self.fields["targets"].initial = active.filter(slug=slug) if slug else active
        if asked.get("algorithms"):
            self.fields["algorithms"].initial = str(asked["algorithms"]).split(",")

    @property
    def main_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name not in CHOICES]

    @property
    def setting_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in CHOICES]

    @property
    def settings_are_open(self) -> bool:
        return any(self.errors.get(name) for name in CHOICES) if self.is_bound else False

    def config(self) -> dict[str, Any]:
        """What was chosen otherwise than usual; the preset says the rest."""
        usual = PRESETS[self.cleaned_data["preset"]].to_json()
        found = {
            name: self.cleaned_data[name]
            for name, options in CHOICES.items()
            if self.cleaned_data.get(name) and self.cleaned_data[name] not in (options[0], usual[name])
        }
        numbers = {name: self.cleaned_data.get(name) for name in ("search", "privacy_epsilon")}
        return found | {name: number for name, number in numbers.items() if number}

    def clean_cutoffs(self) -> list[date]:
        return days_of(self.cleaned_data["cutoffs"])


def algorithm_choices() -> list[tuple[str, Any]]:
    named = [(name, model_words.algorithm(name)) for name in families.FAMILIES]
    return [(families.ALL, _("all of them")), *named]


def days_of(text: str) -> list[date]:
    """Dates with commas between them. Raises ValidationError."""
    days = []
    for part in text.replace(";", ",").split(","):
        if word := part.strip():
            try:
                days.append(date.fromisoformat(word))
            except ValueError as error:
                message = _("“%(text)s” is not a date; write it as 2011-06-12.")
                raise ValidationError(message, params={"text": word}) from error
    return days


class PromoteForm(forms.Form):
    """Why, and whether everybody is classified at once."""

    reason = forms.CharField(
        label=_("Why"),
        required=False,
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text=_("Kept with the promotion, for whoever asks later."),
    )
    classify = forms.BooleanField(
        label=_("Classify everyone now"),
        required=False,
        initial=True,
        help_text=_("Otherwise the old scores stay until something happens or the next classification."),
    )


class ReasonForm(forms.Form):
    """A sentence for the history."""

    reason = forms.CharField(
        label=_("Why"),
        required=False,
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text=_("Kept with the promotion, for whoever asks later."),
    )


class PriorityOverrideForm(forms.Form):
    """A person's word on how soon a customer is served."""

    level = forms.TypedChoiceField(choices=PriorityLevel.choices, coerce=int)
    reason = forms.CharField(
        max_length=200,
        error_messages={"required": _("Give a reason: whoever serves the customer next will read it.")},
    )
    until = forms.DateTimeField(
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        error_messages={
            "required": _("Say until when."),
            "invalid": _("The end looks like 2024-03-01T17:00."),
        },
    )


def _amount(label: Any, initial: float, help_text: Any) -> forms.FloatField:
    return forms.FloatField(
        label=label, initial=initial, min_value=0, max_value=1e9, required=False, help_text=help_text,
        widget=TextInput,
    )  # fmt: skip


class ThresholdForm(forms.Form):
    """How the line is drawn: by hand, by how many can be reached, or by what reaching and finding are worth."""

    BY_HAND, BY_CAPACITY, BY_COST = "hand", "capacity", "cost"
    by = forms.ChoiceField(
        label=_("Draw the line"),
        choices=[
            (BY_HAND, _("by hand")),
            (BY_CAPACITY, _("by how many can be reached")),
            (BY_COST, _("by cost and worth")),
        ],
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    capacity = forms.IntegerField(
        label=_("How many can be reached"), min_value=0, required=False, widget=UnfoldAdminIntegerFieldWidget
    )
    contact = _amount(_("Cost of reaching one"), 1, _("In the shop's currency."))
    worth = _amount(_("Worth of a case that is helped"), 20, _("In the shop's currency."))
    success = _amount(_("Helped, of 100 cases reached"), 20, _("How often acting changes the outcome."))
    at = forms.FloatField(required=False, min_value=0, max_value=1, widget=forms.HiddenInput)
