"""A rule in a form: edited as nested conditions in the page, checked by segmentation.rules.language."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from segmentation.models import Shop
from segmentation.rules import event_products, events, language
from segmentation.rules import fields as rule_fields
from segmentation.rules.operators import OPERATORS, Operator
from segmentation.rules.periods import PERIODS


class RuleWidget(forms.Textarea):
    template_name = "tierwise/rule_widget.html"
    error_path = ""
    error_message = ""

    def __init__(self, *, segment_field: str = "") -> None:
        super().__init__()
        self.segment_field = segment_field

    class Media:
        js = (
            "tierwise/rule-kit.js",
            "tierwise/rule-events.js",
            "tierwise/rule-panels.js",
            "tierwise/rule-builder.js",
        )

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        context["widget"] |= {
            "fields_url": reverse("admin:segmentation_segment_rule_fields"),
            "preview_url": reverse("admin:segmentation_segment_preview"),
            "segment_field": self.segment_field,
            "optional": not self.is_required,
            "error_path": self.error_path,
            "error_message": self.error_message,
        }
        return context


class RuleField(forms.CharField):
    """Cleans to the canonical JSON of the rule, or None when empty; an error is shown at its node."""

    widget = RuleWidget

    def prepare_value(self, value: Any) -> Any:
        return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def to_python(self, value: Any) -> Any:
        text = (value or "").strip()
        if text in {"", "null"}:
            return None
        try:
            return language.to_json(language.parse(text))
        except language.RuleError as error:
            self.widget.error_path, self.widget.error_message = error.path, error.message
            raise ValidationError(error.message, code="rule") from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(initial) != bool(data) or json.loads(data or "null") != initial
        except ValueError:
            return True


def configuration(request: HttpRequest) -> JsonResponse:
    """Fields, operators and texts of the rule builder in the reader's language."""
    fields = [
        {
            "name": field.name,
            "label": _capital(str(field.label)),
            "group": str(rule_fields.GROUP_WORDS[field.group]),
            "type": field.type.value,
            "unit": field.unit,
            "choices": [{"value": choice.value, "label": str(choice.label)} for choice in field.choices],
        }
        for field in rule_fields.available()
    ]
    operators = {kind.value: [_operator(one) for one in known] for kind, known in OPERATORS.items()}
    return JsonResponse(
        {
            "fields": fields,
            "operators": operators,
            "events": _events(),
            "periods": [{"value": name, "label": str(words)} for name, words in PERIODS.items()],
            "texts": _texts(),
            "units": _units(),
            "currency": Shop.get().base_currency,
        }
    )


def _events() -> dict[str, Any]:
    """What may be asked of events."""
    return {
        "group": str(rule_fields.GROUP_WORDS["event"]),
        "kinds": [{"value": name, "label": _capital(str(words))} for name, words in events.KINDS.items()],
        "measures": [
            {
                "name": name.value,
                "label": str(events.MEASURE_WORDS[name]),
                "type": measured.type.value,
                "unit": measured.unit,
            }
            for name, measured in events.MEASURES.items()
        ],
        "categories": [choice.value for choice in rule_fields.categories().choices],
        "compared": [
            {"value": op, "label": str(words) % {"value": "…"}}
            for op, words in event_products.COMPARED.items()
        ],
        "named": [
            {"value": op, "label": str(words) % {"value": "…"}} for op, words in event_products.NAMED.items()
        ],
    }


def _operator(one: Operator) -> dict[str, str]:
    blanks = {"value": "…", "low": "…", "high": "…"}
    return {"name": one.name, "shape": one.shape.value, "label": str(one.words) % blanks}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _units() -> dict[str, str]:
    return {
        "events": _("times"),
        "days": _("days"),
        "orders": _("orders"),
        "units": _("units"),
        "times": _("times"),
        "rating": _("stars"),
        "ratio": "",
        "score": "",
    }


def _texts() -> dict[str, str]:
    return {
        "all": _("All of these hold"),
        "any": _("Any of these holds"),
        "none": _("None of these holds"),
        "group": _("How the conditions of the group combine"),
        "field": _("What"),
        "operator": _("Comparison"),
        "value": _("Value"),
        "values": _("Values"),
        "comma": _("separated by commas"),
        "days": _("days"),
        "to": _("to"),
        "yes": _("yes"),
        "no": _("no"),
        "add_condition": _("Add condition"),
        "add_group": _("Add group"),
        "remove": _("Remove"),
        "no_condition": _("No further condition."),
        "nothing_to_preview": _("Choose a segment or add a condition to see whom it reaches."),
        "fix_first": _("The rule is not complete yet."),
        "no_preview": _("The preview did not answer. You can still save."),
        "for_example": _("For example"),
        "counting": _("Counting everybody…"),
        "as_text": _("The rule as text"),
        "also_in": _("Who they are besides"),
        "overlap": _(
            "Share of these customers that are in the segment / of its members that are among them."
        ),
        "compare": _("Dark: these customers. Pale: everybody."),
        "test": _("Test a customer"),
        "customer_number": _("Customer number"),
        "test_button": _("Test"),
        "kind": _("What the customer did"),
        "measure": _("What is asked"),
        "category": _("From categories"),
        "any_category": _("Any category"),
        "product": _("Product"),
        "any_product": _("Any product"),
        "product_number": _("Product number"),
        "product_name": _("Name of the product"),
        "price": _("Price"),
        "any_price": _("Any price"),
        "quantity": _("Quantity"),
        "any_quantity": _("Any quantity"),
        "amount": _("Amount"),
        "any_amount": _("Any amount"),
        "when": _("When"),
        "any_time": _("At any time"),
        "within": _("Within the last … days"),
        "older": _("More than … days ago"),
        "between_days": _("Between two days"),
        "from": _("From"),
        "follow": _("And afterwards"),
        "follow_any": _("Whatever came then"),
        "followed_by": _("And then"),
        "not_followed_by": _("And not then"),
        "holds": _("holds"),
        "fails": _("does not hold"),
    }
