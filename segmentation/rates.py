"""Money to the shop's base currency, in integer minor units."""

from __future__ import annotations

from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from functools import cached_property

from django.utils.translation import gettext as _

from segmentation.models import ExchangeRate, Shop
from segmentation.models.shop import minor_digits
from segmentation.normal import MAX_AMOUNT_MINOR


class AmountError(ValueError):
    """An amount that cannot be stored; the message is a sentence for staff."""


class NoRate(AmountError):
    """No exchange rate is stored for the day and currency."""


def no_rate_template() -> str:
    """Has the placeholders currency and day."""
    return _("There is no exchange rate for %(currency)s on %(day)s; add one under Exchange rates.")


def to_minor(amount: Decimal, digits: int) -> int:
    """Major to minor units, halves to the even neighbour. Raises AmountError when absurdly large."""
    with localcontext(prec=60):
        minor = int(amount.scaleb(digits).to_integral_value(rounding=ROUND_HALF_EVEN))
    if abs(minor) > MAX_AMOUNT_MINOR:
        raise AmountError(_("The amount %(amount)s is too large to be true.") % {"amount": amount})
    return minor


class Rates:
    """Rates by currency and day (the shop's local day), read once each."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self._known: dict[tuple[str, date], Decimal | None] = {}

    @cached_property
    def base_digits(self) -> int:
        return minor_digits(self.shop.base_currency)

    def of(self, currency: str, day: date) -> Decimal:
        """Base units for one unit of `currency`. Raises NoRate."""
        if currency == self.shop.base_currency:
            return Decimal(1)
        if (currency, day) not in self._known:
            found = ExchangeRate.objects.filter(currency=currency, day=day).values_list("rate", flat=True)
            self._known[currency, day] = found.first()
        rate = self._known[currency, day]
        if rate is None:
            raise NoRate(no_rate_template() % {"currency": currency[:8], "day": day.isoformat()})
        return rate

    def base_minor(self, amount: Decimal, *, currency: str, at: datetime) -> int:
        """`amount` (major units of `currency`, empty: base) at a moment, in base minor units."""
        code = currency.upper() or self.shop.base_currency
        rate = self.of(code, at.astimezone(self.shop.zone).date())
        with localcontext(prec=60):
            return to_minor(amount * rate, self.base_digits)
