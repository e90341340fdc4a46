"""Results in the words staff use: “likely to stop buying (82 %)”, never “0.8213”."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.utils import formats, timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from segmentation.models import Shop
from segmentation.models.shop import minor_digits

Text = str | Promise
NOTHING = "–"
# A space that keeps an amount and its currency on one line.
NARROW = "\u00a0"


@dataclass(frozen=True)
class RiskBand:
    """Chance to stop buying in [low, high)."""

    slug: str
    low: float
    high: float
    words: Text
    tone: str


RISK_BANDS = (
    RiskBand("stays", 0.0, 0.35, gettext_lazy("likely to stay"), "good"),
    RiskBand("unsure", 0.35, 0.65, gettext_lazy("may stop buying"), "warn"),
    RiskBand("leaves", 0.65, 1.01, gettext_lazy("likely to stop buying"), "bad"),
)
TIERS: dict[str, tuple[Text, str]] = {
    "top": (gettext_lazy("Top value"), "good"),
    "high": (gettext_lazy("High value"), "good"),
    "middle": (gettext_lazy("Middle value"), "info"),
    "low": (gettext_lazy("Low value"), "plain"),
    "lowest": (gettext_lazy("Lowest value"), "plain"),
    "none": (gettext_lazy("No spend expected"), "plain"),
}
CLASSES: dict[str, Text] = {
    "later": gettext_lazy("Later"),
    "yes": gettext_lazy("yes"),
    "no": gettext_lazy("no"),
}
NUMBERED: dict[str, Text] = {
    "tier_": gettext_lazy("Tier %(number)s"),
    "group_": gettext_lazy("Group %(number)s"),
    "within_": gettext_lazy("Within %(number)s days"),
}
ABSTAIN: dict[str, Text] = {
    "no_orders": gettext_lazy("No score: no order yet."),
    "too_few_orders": gettext_lazy("No score: too few orders."),
    "not_profiled": gettext_lazy("No score: this customer is not profiled."),
    "no_model": gettext_lazy("No score: nothing has been learned yet."),
    "no_order_in_365_days": gettext_lazy("No score: no order in the last 365 days."),
    "model_outdated": gettext_lazy("No score: the model knows older features. Train again."),
}
PRIORITY_TONES = {1: "plain", 2: "plain", 3: "warn", 4: "bad"}
STATE_TONES = {"queued": "plain", "running": "info", "done": "good", "failed": "bad", "cancelled": "warn"}


def risk_band(probability: float) -> RiskBand:
    return next(band for band in RISK_BANDS if probability < band.high)


def risk(probability: float | None) -> str:
    """“likely to stop buying (82 %)”."""
    if probability is None:
        return NOTHING
    return _("%(words)s (%(percent)s)") % {
        "words": risk_band(probability).words,
        "percent": percent(probability),
    }


def tier(value: str) -> Text:
    """A class in words: a tier by its name or number, a group by its number, any other by its own name."""
    for prefix, said in NUMBERED.items():
        if value.startswith(prefix) and value.removeprefix(prefix).isdigit():
            return str(said) % {"number": value.removeprefix(prefix)}
    return CLASSES.get(value) or TIERS.get(value, (value or NOTHING, "plain"))[0]


def tier_tone(value: str) -> str:
    return TIERS.get(value, (value, "plain"))[1]


def abstain(reason: str, *, orders: int | None = None, needed: int | None = None) -> Text:
    """Why there is no score; with the numbers, where they are known: “No score: 1 order, need 2.”"""
    if reason == "too_few_orders" and orders is not None and needed is not None:
        return ngettext(
            "No score: %(orders)s order, need %(needed)s.",
            "No score: %(orders)s orders, need %(needed)s.",
            orders,
        ) % {"orders": number(orders), "needed": number(needed)}
    return ABSTAIN.get(reason, reason)


def percent(share: float, digits: int = 0) -> str:
    return _("%(number)s %%") % {"number": number(100 * share, digits)}


def number(value: float | int, digits: int = 0) -> str:
    """A number in the reader's own format, rounded, with thousands separated."""
    # The format alone would cut digits off.
    return formats.number_format(round(value, digits), decimal_pos=digits, use_l10n=True, force_grouping=True)


def money(minor: int | None, currency: str, *, whole: bool = False) -> str:
    """Minor units of the base currency, as “1,234.50 GBP”; `whole` leaves the fraction out."""
    if minor is None:
        return NOTHING
    digits = minor_digits(currency)
    return f"{number(minor / 10**digits, 0 if whole else digits)}{NARROW}{currency}"


def major(value: float | None, currency: str) -> str:
    """An amount in major units, as scores hold it."""
    return NOTHING if value is None else f"{number(value, minor_digits(currency))}{NARROW}{currency}"


def day(value: date | datetime | None, shop: Shop | None = None, *, short: bool = False) -> str:
    """A day by the shop's clock; without a shop, by the clock of the page (dashboard.clock)."""
    if value is None:
        return NOTHING
    if isinstance(value, datetime):
        value = value.astimezone(shop.zone) if shop else timezone.localtime(value)
    return formats.date_format(value, "SHORT_DATE_FORMAT" if short else "DATE_FORMAT")


def moment(value: datetime | None) -> str:
    """Date and time by the clock of the page (dashboard.clock)."""
    if value is None:
        return NOTHING
    return formats.date_format(timezone.localtime(value), "SHORT_DATETIME_FORMAT")


def size(count: int) -> str:
    """Bytes as KiB or MiB."""
    return f"{number(count / 1024, 1)} KiB" if count < 1024**2 else f"{number(count / 1024**2, 1)} MiB"


def plain(value: Any) -> str:
    """Any stored value for a table cell."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, int):
        return number(value)
    if isinstance(value, float):
        return number(value, 0 if value == int(value) else 2)
    return str(value)


def feature(value: Any, unit: str, shop: Shop) -> str:
    """A feature's value as staff read it."""
    if isinstance(value, str) or value is None:
        return plain(value)
    if unit == "money":
        return major(value, shop.base_currency)
    if unit == "share":
        return percent(value)
    if unit == "days":
        return _("%(number)s days") % {"number": number(value, 0 if value == int(value) else 1)}
    return number(value, 0 if value == int(value) else 2)
