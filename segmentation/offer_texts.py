"""What an offer says to a customer: the text of a language with its braces filled in.

Names are left for whoever sends the message: no contact data leaves with a decision. {products} are those that the
customer will probably want next; where none are known, the offer's own words stand in their place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from segmentation import suggested
from segmentation.models import AttributeDefinition, AttributeValue, Customer, Offer, Product, Shop

BRACES: Final = re.compile(r"\{([^{}]*)\}")
OF_OFFER: Final = ("percentage", "amount", "points", "code", "valid_until")
OF_CUSTOMER: Final = ("reference", "country", "channel", "tier", "orders", "spent")
PRODUCTS: Final = "products"
# The sender knows these.
LEFT: Final = ("first_name", "last_name")
ATTRIBUTE: Final = "attribute."


def check(text: str) -> None:
    """Raises ValidationError, naming what cannot be filled in and what can."""
    attributes = set(AttributeDefinition.objects.values_list("slug", flat=True))
    known = {*OF_OFFER, *OF_CUSTOMER, PRODUCTS, *LEFT}
    for name in BRACES.findall(text):
        if name not in known and not (name.startswith(ATTRIBUTE) and name[len(ATTRIBUTE) :] in attributes):
            raise ValidationError(
                _(
                    "{%(name)s} cannot be filled in. Use one of: %(known)s, or {attribute.…} with a column of yours."
                )
                % {"name": name, "known": ", ".join(f"{{{one}}}" for one in sorted(known))}
            )


def of_offer(offer: Offer, shop: Shop, *, code: str, valid_until: date) -> dict[str, str]:
    return {
        "percentage": f"{offer.percentage.normalize():f}" if offer.percentage is not None else "",
        "amount": _money(offer.value_minor, shop),
        "points": str(offer.points or ""),
        "code": code,
        "valid_until": valid_until.isoformat(),
    }


def of_customer(customer: Customer, shop: Shop) -> dict[str, str]:
    return {
        "reference": customer.reference,
        "country": customer.country,
        "channel": customer.channel,
        "tier": customer.tier,
        "orders": str(customer.orders),
        "spent": _money(customer.spent_minor, shop),
    }


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with what is known put in; the rest stays in its braces for the sender."""
    return BRACES.sub(lambda found: values.get(found[1], found[0]), text)


def attributes_asked(texts: Mapping[str, str]) -> set[str]:
    """Slugs of the shop's own columns that these texts mention."""
    names = {name for text in texts.values() for name in BRACES.findall(text)}
    return {name[len(ATTRIBUTE) :] for name in names if name.startswith(ATTRIBUTE)}


def attributes_of(customer_id: int, slugs: set[str]) -> dict[str, str]:
    """Present values of these columns, as `attribute.<slug>`; one query, none where nothing is asked."""
    if not slugs:
        return {}
    rows = AttributeValue.objects.filter(customer=customer_id, definition__slug__in=slugs)
    found = {}
    for slug, number, text in rows.order_by("valid_from").values_list("definition__slug", "number", "text"):
        found[f"{ATTRIBUTE}{slug}"] = text if text is not None else f"{number:g}"
    return {f"{ATTRIBUTE}{slug}": "" for slug in slugs} | found


def all_texts(offer: Offer) -> dict[str, str]:
    """By language; "" is the offer's own text."""
    return {"": offer.text} | {row.language: row.text for row in offer.texts.all()}


@dataclass(frozen=True)
class Filled:
    """Texts by language ("" is the offer's own), and the products that they name."""

    texts: dict[str, str]
    products: tuple[Product, ...] = ()


def filled(offer: Offer, customer: Customer, shop: Shop, *, code: str, valid_until: date) -> Filled:
    """What this customer reads. Queries only for what the texts ask for."""
    texts = all_texts(offer)
    values = {
        **of_customer(customer, shop),
        **of_offer(offer, shop, code=code, valid_until=valid_until),
        **attributes_of(customer.pk, attributes_asked(texts)),
    }
    products = products_of(offer, customer, texts)
    names = ", ".join(str(product) for product in products)
    fallbacks = {"": offer.products_fallback} | {
        row.language: row.products_fallback for row in offer.texts.all()
    }

    def fill_one(language: str, text: str) -> str:
        said = names or fallbacks.get(language) or offer.products_fallback
        return fill(text, {**values, PRODUCTS: said} if said else values)

    return Filled({language: fill_one(language, text) for language, text in texts.items()}, products)


def asks_products(texts: Iterable[str]) -> bool:
    return any(PRODUCTS in BRACES.findall(text) for text in texts)


def products_of(offer: Offer, customer: Customer, texts: Mapping[str, str]) -> tuple[Product, ...]:
    """The likeliest next products for product picks and texts that name them; none for who is not profiled."""
    wanted = offer.kind == Offer.Kind.PRODUCTS or asks_products(texts.values())
    if not wanted or not customer.is_profiled:
        return ()
    for _target, _version, listed in suggested.of_customer(customer.pk):
        if listed:
            return tuple(product for product, _score in listed[: offer.products_count])
    return ()


def preview(offer: Offer, customer: Customer, shop: Shop) -> Filled:
    """As this customer would read it if they got the offer today."""
    return filled(
        offer,
        customer,
        shop,
        code=_("CODE") if offer.codes == Offer.Codes.POOL else offer.code,
        valid_until=shop.today() + timedelta(days=offer.valid_days),
    )


def _money(minor: int, shop: Shop) -> str:
    digits = len(str(shop.minor_per_major)) - 1
    return f"{Decimal(minor) / shop.minor_per_major:.{digits}f} {shop.base_currency}" if minor else ""
