"""Values as staff read them: money in the shop's currency, probabilities in percent, dates in the locale's form."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime
from typing import Final

from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from segmentation.models import Shop
from segmentation.rules.fields import RuleField
from segmentation.rules.operators import FieldType

_PERCENT: Final = frozenset({"probability", "share"})


def say(field: RuleField, value: object) -> str:
    """One value of a field in words; a missing one is "unknown"."""
    if value is None or value == "":
        return _("unknown")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, datetime | date):
        return say_day(value)
    if isinstance(value, list | tuple):
        return ", ".join(_label_of(field, str(one)) for one in value) or _("nothing")
    if field.type is FieldType.NUMBER and isinstance(value, int | float):
        return say_number(value, unit=field.unit)
    if field.type is FieldType.BOOLEAN and isinstance(value, int | float):
        return _("yes") if value else _("no")
    return _label_of(field, str(value))


def say_day(value: date) -> str:
    return date_format(value, "DATE_FORMAT")


def say_number(value: float, *, unit: str) -> str:
    """A number with its unit. No shop is read unless the unit is money."""
    if math.isnan(value):
        return _("unknown")
    if unit in _PERCENT:
        return _("%(number)s %%") % {"number": _trimmed(value * 100)}
    if unit == "money":
        shop = Shop.get()
        digits = len(str(shop.minor_per_major)) - 1
        return _("%(amount)s %(currency)s") % {
            "amount": number_format(round(value, digits), decimal_pos=digits, force_grouping=True),
            "currency": shop.base_currency,
        }
    if unit in _COUNTED:
        return _COUNTED[unit](value)
    return _trimmed(value)


def _label_of(field: RuleField, value: str) -> str:
    for choice in field.choices:
        if choice.value == value:
            return str(choice.label)
    return value


def _trimmed(value: float) -> str:
    """At most two decimals (four below one), without trailing zeros."""
    rounded = round(value, 2 if abs(value) >= 1 else 4)
    if float(rounded).is_integer():
        return number_format(int(rounded), force_grouping=True)
    places = len(str(rounded).rstrip("0").split(".")[-1]) if "e" not in str(rounded) else 4
    return number_format(rounded, decimal_pos=places, force_grouping=True)


def _days(value: float) -> str:
    plural = ngettext("%(number)s day", "%(number)s days", 1 if value == 1 else 2)
    return plural % {"number": _trimmed(value)}


def _times(value: float) -> str:
    plural = ngettext("%(number)s time", "%(number)s times", 1 if value == 1 else 2)
    return plural % {"number": _trimmed(value)}


_COUNTED: Final[dict[str, Callable[[float], str]]] = {"days": _days, "events": _times}
