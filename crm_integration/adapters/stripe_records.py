"""Stripe's payments and customers in the normal form.

One purchase may be told as a charge, a payment intent, an invoice and a checkout session, in any order. All are one fact
under the payment intent's id; the one that says most about the goods has the highest version and so replaces the others.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from django.utils.translation import gettext as _

from crm_integration.adapters.base import Found, PrivacyKind, PrivacyRequest
from crm_integration.adapters.reading import BadField, Fields, from_minor
from segmentation import normal
from segmentation.kinds import EventKind
from segmentation.normal import NormalConsent, NormalCustomer, NormalEvent, NormalItem

# https://docs.stripe.com/currencies: amounts of these have no hundredths, or thousandths. ISK and UGX are written
# with hundredths that are always zero.
WHOLE = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF")
)
THOUSANDTHS = frozenset(("BHD", "JOD", "KWD", "OMR", "TND"))
CHARGE, INTENT, INVOICE, SESSION = 1, 2, 3, 4  # versions: how much each says about the goods
MAX_LINES = 500


def read(event: Fields) -> Found:
    """What one event says. Raises BadField."""
    reader = TOPICS.get(event.text("type", most=100, required=True))
    at = event.epoch("created")
    if reader is None or at is None:
        raise BadField(_("%(field)s is missing.") % {"field": event.name("created")})
    return reader(event.part("data").object("object", required=True) or Fields({}), at)


def _digits(currency: str) -> int:
    return 0 if currency in WHOLE else 3 if currency in THOUSANDTHS else 2


def _money(data: Fields, field: str, currency: str) -> Decimal:
    return from_minor(data.whole(field, default=0), _digits(currency))


def _paid(
    data: Fields,
    at: datetime,
    *,
    key: str,
    version: int,
    amount: Decimal,
    email: str,
    discount: Decimal = Decimal(0),
    items: tuple[NormalItem, ...] = (),
) -> Found:
    key = key or data.text("id", most=normal.MAX_SOURCE_KEY, required=True)
    customer = _id(data, "customer")
    event = NormalEvent(
        source_key=key,
        kind=EventKind.ORDER_PLACED,
        occurred_at=data.epoch("created") or at,
        customer=customer or None,
        source_version=version,
        amount=max(amount, Decimal(0)),
        discount=discount,
        currency=_currency(data),
        items=items,
        order_key=key,
        email=email,
    )
    return Found((event,))


def _currency(data: Fields) -> str:
    return data.text("currency", most=3, required=True).upper()


def _id(data: Fields, field: str) -> str:
    """Stripe writes an id, or the whole object where it was expanded."""
    if isinstance(data.values.get(field), dict):
        return data.part(field).clipped("id", most=normal.MAX_REFERENCE)
    return data.clipped(field, most=normal.MAX_REFERENCE)


def charge(data: Fields, at: datetime) -> Found:
    if not data.flag("paid"):
        return Found()
    email = data.part("billing_details").clipped("email", most=254) or data.clipped("receipt_email", most=254)
    amount = _money(data, "amount", _currency(data))
    return _paid(data, at, key=_id(data, "payment_intent"), version=CHARGE, amount=amount, email=email)


def intent(data: Fields, at: datetime) -> Found:
    currency = _currency(data)
    shipping = _money(data.part("amount_details").part("shipping"), "amount", currency)
    amount = _money(data, "amount_received", currency) - shipping
    email = data.clipped("receipt_email", most=254)
    return _paid(data, at, key="", version=INTENT, amount=amount, email=email)


def invoice(data: Fields, at: datetime) -> Found:
    """Newer API versions name the payment intent in a list of payments; without one the payment itself has told it."""
    payments = data.part("payments").objects("data", most=MAX_LINES)
    key = _id(data, "payment_intent") or next(
        (found for part in payments if (found := _id(part.part("payment"), "payment_intent"))), ""
    )
    currency = _currency(data)
    paid = _money(data, "amount_paid", currency)
    if not key or paid <= 0:
        return Found()
    shipping = _money(data.part("shipping_cost"), "amount_total", currency)
    off = data.objects("total_discount_amounts", most=MAX_LINES)
    lines = data.part("lines").objects("data", most=MAX_LINES)
    return _paid(
        data,
        at,
        key=key,
        version=INVOICE,
        amount=paid - shipping,
        email=data.clipped("customer_email", most=254),
        discount=sum((_money(part, "amount", currency) for part in off), Decimal(0)),
        items=tuple(_line(line, currency) for line in lines),
    )


def _line(line: Fields, currency: str) -> NormalItem:
    name = line.clipped("description", most=normal.MAX_PRODUCT_NAME)
    details = line.part("pricing").part("price_details")
    product = _id(details, "product") or _id(line.part("price"), "product")
    return NormalItem(
        product_id=product or name[: normal.MAX_PRODUCT_ID] or "-",
        product_name=name,
        quantity=line.whole("quantity", default=1, most=normal.MAX_QUANTITY),
        # A credit for the rest of a period is a line below zero; the invoice's total has it.
        amount=from_minor(max(line.whole("amount", default=0, least=-(2**53)), 0), _digits(currency)),
    )


def session(data: Fields, at: datetime) -> Found:
    key = _id(data, "payment_intent")
    if data.text("payment_status", most=40) != "paid" or not key:
        return Found()
    currency, totals = _currency(data), data.part("total_details")
    email = data.part("customer_details").clipped("email", most=254)
    return _paid(
        data,
        at,
        key=key,
        version=SESSION,
        amount=_money(data, "amount_total", currency) - _money(totals, "amount_shipping", currency),
        email=email or data.clipped("customer_email", most=254),
        discount=_money(totals, "amount_discount", currency),
    )


def refunded(data: Fields, at: datetime) -> Found:
    """`amount_refunded` is the sum so far: a later, larger sum replaces an earlier one."""
    key = data.text("id", most=normal.MAX_SOURCE_KEY, required=True)
    given_back = data.whole("amount_refunded", default=0)
    if not given_back:
        return Found()
    currency = _currency(data)
    event = NormalEvent(
        source_key=key,
        kind=EventKind.REFUNDED,
        occurred_at=at,
        customer=_id(data, "customer") or None,
        source_version=given_back,
        amount=from_minor(given_back, _digits(currency)),
        currency=currency,
        order_key=_id(data, "payment_intent") or key,
        email=data.part("billing_details").clipped("email", most=254),
    )
    return Found((event,))


def customer(data: Fields, at: datetime) -> Found:
    """A customer; the only consent that Stripe knows is asked in a checkout (see `checked_out`)."""
    key = data.text("id", most=normal.MAX_REFERENCE, required=True)
    created_at = data.epoch("created")
    languages = data.values.get("preferred_locales")
    language = (
        languages[0] if isinstance(languages, list) and languages and isinstance(languages[0], str) else ""
    )
    first, _space, last = data.clipped("name", most=300).rpartition(" ")
    person = NormalCustomer(
        reference=key,
        email=data.clipped("email", most=254),
        first_name=first[:150],
        last_name=last[:150],
        phone=data.clipped("phone", most=50),
        country=data.part("address").clipped("country", most=64),
        language=language[:35],
        signed_up_at=created_at,
        updated_at=at,
    )
    if created_at is None:
        return Found(customers=(person,))
    return Found((NormalEvent(key, EventKind.SIGNED_UP, created_at, key),), (person,))


def deleted(data: Fields, at: datetime) -> Found:
    key = data.text("id", most=normal.MAX_REFERENCE, required=True)
    return Found(privacy=(PrivacyRequest(PrivacyKind.DELETED, key),))


def checked_out(data: Fields, at: datetime) -> Found:
    """The purchase, and the answer to the question about promotions where it was asked."""
    found = session(data, at)
    asked = data.part("consent").clipped("promotions", most=20)
    owner = _id(data, "customer")
    answer = {"opt_in": "granted", "opt_out": "denied"}.get(asked)
    if not (owner and answer):
        return found
    told = NormalCustomer(reference=owner, consents=(NormalConsent("marketing", answer, at),), updated_at=at)
    return Found(found.events, (told,))


TOPICS: dict[str, Callable[[Fields, datetime], Found]] = {
    "charge.succeeded": charge,
    "payment_intent.succeeded": intent,
    "invoice.paid": invoice,
    "checkout.session.completed": checked_out,
    "checkout.session.async_payment_succeeded": checked_out,
    "charge.refunded": refunded,
    "customer.created": customer,
    "customer.updated": customer,
    "customer.deleted": deleted,
}
