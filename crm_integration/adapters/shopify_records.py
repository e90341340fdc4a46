"""Shopify's orders, refunds and customers in the normal form (field names: docs/webhooks.md says which are read)."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.utils.translation import gettext as _

from crm_integration.adapters.base import Found, Merged, PrivacyKind, PrivacyRequest, Thin
from crm_integration.adapters.reading import BadField, Fields, used_codes
from segmentation import normal
from segmentation.kinds import EventKind
from segmentation.normal import NormalCode, NormalConsent, NormalCustomer, NormalEvent, NormalItem

MAX_LINES = 500
# Money has arrived, or had before it was given back; “pending”, “authorized”, “partially_paid” and “voided” are unpaid.
PAID = frozenset({"paid", "partially_refunded", "refunded"})
GID = "gid://shopify/Customer/"
MERGED = "completed"
CONSENT = {"subscribed": "granted", "unsubscribed": "denied", "redacted": "denied"}


def order(data: Fields) -> Found:
    """A paid order, what was given back of it, and its end. Test and unpaid orders say nothing but who ordered."""
    key = data.text("id", most=normal.MAX_SOURCE_KEY, required=True)
    person = data.object("customer")
    customers = (customer(person, fallback=data),) if person is not None and person.has("id") else ()
    if data.flag("test") or data.text("financial_status", most=40) not in PAID:
        return Found(customers=customers)
    placed = _placed(data, key, person)
    cancelled_at = data.moment("cancelled_at")
    if cancelled_at is not None:
        ended = _about(placed, EventKind.ORDER_CANCELLED, key=key, at=cancelled_at)
        return Found((placed, ended), customers)
    return Found((placed, *_refunds(data, placed)), customers)


def _placed(data: Fields, key: str, person: Fields | None) -> NormalEvent:
    changed_at = data.moment("updated_at")
    placed_at = data.moment("processed_at") or data.moment("created_at")
    if placed_at is None:
        raise BadField(_("%(field)s is missing.") % {"field": data.name("created_at")})
    if not data.has("subtotal_price"):
        raise BadField(_("%(field)s is missing.") % {"field": data.name("subtotal_price")})
    return NormalEvent(
        source_key=key,
        kind=EventKind.ORDER_PLACED,
        occurred_at=placed_at,
        customer=person.text("id", most=normal.MAX_REFERENCE)
        if person is not None and person.has("id")
        else None,
        source_version=version_of(changed_at),
        amount=data.amount_or_zero("subtotal_price"),
        discount=data.amount_or_zero("total_discounts"),
        currency=data.text("currency", most=3).upper(),
        items=tuple(_line(line) for line in data.objects("line_items", most=MAX_LINES)),
        order_key=key,
        email=data.clipped("email", most=254) or data.clipped("contact_email", most=254),
        channel=data.clipped("source_name", most=64),
        codes=_codes(data),
    )


def _codes(data: Fields) -> tuple[NormalCode, ...]:
    """A shipping code takes nothing off the goods."""
    return used_codes(
        (
            part.clipped("code", most=normal.MAX_CODE),
            Decimal(0) if part.clipped("type", most=20) == "shipping" else part.amount("amount"),
        )
        for part in data.objects("discount_codes", most=MAX_LINES)
    )


def version_of(moment: datetime | None) -> int:
    """Milliseconds since 1970: later states replace earlier ones, in whatever order they arrive."""
    return int(moment.timestamp() * 1000) if moment is not None else 0


def _line(line: Fields) -> NormalItem:
    quantity = line.whole("quantity", default=1, most=normal.MAX_QUANTITY)
    off = [part.amount_or_zero("amount") for part in line.objects("discount_allocations", most=MAX_LINES)]
    discount = sum(off, Decimal(0)) if off else line.amount_or_zero("total_discount")
    name = line.clipped("title", most=normal.MAX_PRODUCT_NAME)
    return NormalItem(
        # A line that was typed in by hand has no product.
        product_id=line.clipped("product_id", most=normal.MAX_PRODUCT_ID)
        or name[: normal.MAX_PRODUCT_ID]
        or "-",
        product_name=name,
        category=line.clipped("product_type", most=normal.MAX_CATEGORY),
        quantity=quantity,
        amount=max(line.amount_or_zero("price") * quantity - discount, Decimal(0)),
    )


def _refunds(data: Fields, placed: NormalEvent) -> list[NormalEvent]:
    return [
        _refund(refund, placed)
        for refund in data.objects("refunds", most=MAX_LINES)
        if refund.objects("refund_line_items", most=MAX_LINES)
    ]


def _refund(refund: Fields, placed: NormalEvent) -> NormalEvent:
    """The goods of a refund; shipping that was given back is no goods."""
    lines = refund.objects("refund_line_items", most=MAX_LINES)
    items = tuple(_line_back(line) for line in lines)
    at = refund.moment("processed_at") or refund.moment("created_at") or placed.occurred_at
    return NormalEvent(
        source_key=refund.text("id", most=normal.MAX_SOURCE_KEY, required=True),
        kind=EventKind.REFUNDED,
        occurred_at=at,
        customer=placed.customer,
        amount=sum((item.amount for item in items), Decimal(0)),
        currency=placed.currency,
        items=items,
        order_key=placed.order_key,
        email=placed.email,
    )


def _line_back(line: Fields) -> NormalItem:
    product = line.part("line_item")
    name = product.clipped("title", most=normal.MAX_PRODUCT_NAME)
    return NormalItem(
        product_id=product.clipped("product_id", most=normal.MAX_PRODUCT_ID)
        or name[: normal.MAX_PRODUCT_ID]
        or "-",
        product_name=name,
        quantity=line.whole("quantity", default=1, most=normal.MAX_QUANTITY),
        amount=line.amount_or_zero("subtotal"),
    )


def _about(placed: NormalEvent, kind: EventKind, *, key: str, at: datetime) -> NormalEvent:
    return NormalEvent(
        source_key=key,
        kind=kind,
        occurred_at=at,
        customer=placed.customer,
        order_key=placed.order_key,
        email=placed.email,
    )


def customer_record(data: Fields) -> Found:
    """A customer, and the fact that they signed up."""
    person = customer(data, fallback=data)
    if person.signed_up_at is None:
        return Found(customers=(person,))
    signed_up = NormalEvent(
        source_key=person.reference,
        kind=EventKind.SIGNED_UP,
        occurred_at=person.signed_up_at,
        customer=person.reference,
    )
    return Found((signed_up,), (person,))


def customer(data: Fields, *, fallback: Fields) -> NormalCustomer:
    """`fallback` is the order around a customer: its time and e-mail count where the customer has none."""
    updated_at = data.moment("updated_at") or fallback.moment("updated_at")
    return NormalCustomer(
        reference=data.text("id", most=normal.MAX_REFERENCE, required=True),
        email=data.clipped("email", most=254) or fallback.clipped("email", most=254),
        first_name=data.clipped("first_name", most=150),
        last_name=data.clipped("last_name", most=150),
        phone=data.clipped("phone", most=50),
        country=data.part("default_address").clipped("country_code", most=64),
        language=fallback.clipped("customer_locale", most=35),
        signed_up_at=data.moment("created_at"),
        consents=_consents(data, updated_at),
        updated_at=updated_at,
    )


def _consents(data: Fields, updated_at: datetime | None) -> tuple[NormalConsent, ...]:
    """E-mail consent stands for marketing; a text-message consent says nothing about e-mail."""
    told = data.part("email_marketing_consent")
    answer = CONSENT.get(told.clipped("state", most=40), "")
    decided_at = told.moment("consent_updated_at")
    if not told.values and data.has("accepts_marketing"):
        answer = "granted" if data.flag("accepts_marketing") else "denied"
        decided_at = data.moment("accepts_marketing_updated_at")
    moment = decided_at or updated_at
    return (NormalConsent("marketing", answer, moment),) if answer and moment else ()


def refund_notice(data: Fields) -> Found:
    """A refund names its order and not its customer: the order is fetched."""
    key = data.text("order_id", most=normal.MAX_SOURCE_KEY, required=True)
    return Found(thin=(Thin(0, "order", key),))


def deleted_customer(data: Fields) -> Found:
    key = data.text("id", most=normal.MAX_REFERENCE, required=True)
    return Found(privacy=(PrivacyRequest(PrivacyKind.DELETED, key),))


def merge(data: Fields) -> Found:
    """Two customers became one; a merge that failed, or has only begun, says nothing (CustomerMergeRequestStatus)."""
    kept = _customer_id(data, "admin_graphql_api_customer_kept_id")
    gone = _customer_id(data, "admin_graphql_api_customer_deleted_id")
    if data.text("status", most=40, required=True).lower() != MERGED:
        return Found()
    return Found(merged=(Merged(kept, (gone,)),))


def _customer_id(data: Fields, name: str) -> str:
    """The plain number that other messages tell."""
    told = data.text(name, most=normal.MAX_REFERENCE, required=True)
    key = told.removeprefix(GID)
    if key == told or not key.isdecimal():
        raise BadField(_("%(field)s is no customer of Shopify.") % {"field": data.name(name)})
    return key


def privacy(kind: PrivacyKind, data: Fields) -> Found:
    """The topic is an unsigned header, so the signed body must have the shape of such a request as well."""
    data.text("shop_id", most=64, required=True)
    data.text("shop_domain", most=255, required=True)
    if kind is PrivacyKind.ERASE_SHOP:
        if data.has("customer"):
            raise BadField(_("The topic and the body do not belong together."))
        return Found(privacy=(PrivacyRequest(kind),))
    if kind is PrivacyKind.ERASE and not data.has("orders_to_redact"):
        raise BadField(_("The topic and the body do not belong together."))
    person = data.object("customer", required=True)
    assert person is not None
    # The id may be absent: then the e-mail says who is meant.
    request = PrivacyRequest(
        kind, person.clipped("id", most=normal.MAX_REFERENCE), person.clipped("email", most=254)
    )
    return Found(privacy=(request,))
