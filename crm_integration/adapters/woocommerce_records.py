"""WooCommerce's orders and customers (REST API v3) in the normal form. Only the *_gmt dates are read: they are UTC."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.utils.translation import gettext as _

from crm_integration.adapters.base import Found, PrivacyKind, PrivacyRequest, Shown, Thin
from crm_integration.adapters.reading import BadField, Fields, used_codes
from crm_integration.adapters.woocommerce_push import shown
from segmentation import normal
from segmentation.kinds import EventKind
from segmentation.normal import NormalCustomer, NormalEvent, NormalItem

MAX_LINES = 500
PAID = frozenset({"processing", "completed", "refunded"})
UNPAID = frozenset({"pending", "on-hold", "failed", "checkout-draft", "auto-draft", "trash"})


def order(data: Fields) -> Found:
    """A paid order with what was given back of it, or its cancellation. Unpaid orders say nothing."""
    key = data.text("id", most=normal.MAX_SOURCE_KEY, required=True)
    if not data.has("status"):  # the message only names it
        return Found(thin=(Thin(0, "orders", key),))
    status = data.text("status", most=40)
    if not (status in PAID or (status not in UNPAID and data.moment("date_paid_gmt", utc=True))):
        return Found()
    placed = _placed(data, key)
    customers = (_buyer(data, placed),) if placed.customer else ()
    if status == "cancelled":
        at = data.moment("date_modified_gmt", utc=True) or placed.occurred_at
        return Found((placed, _about(placed, EventKind.ORDER_CANCELLED, key=key, at=at)), customers)
    return Found((placed, *_refunds(data, placed)), customers)


def _placed(data: Fields, key: str) -> NormalEvent:
    placed_at = data.moment("date_created_gmt", utc=True)
    if placed_at is None:
        raise BadField(_("%(field)s is missing.") % {"field": data.name("date_created_gmt")})
    changed_at = data.moment("date_modified_gmt", utc=True)
    taxed = data.flag("prices_include_tax")
    items = tuple(_line(line, taxed) for line in data.objects("line_items", most=MAX_LINES))
    owner = data.whole("customer_id", default=0)
    discount = data.amount_or_zero("discount_total")
    return NormalEvent(
        source_key=key,
        kind=EventKind.ORDER_PLACED,
        occurred_at=placed_at,
        customer=str(owner) if owner else None,
        source_version=int(changed_at.timestamp() * 1000) if changed_at else 0,
        amount=sum((item.amount for item in items), Decimal(0)),
        discount=discount + (data.amount_or_zero("discount_tax") if taxed else Decimal(0)),
        currency=data.text("currency", most=3).upper(),
        items=items,
        order_key=key,
        email=data.part("billing").clipped("email", most=254),
        codes=used_codes(
            (part.clipped("code", most=normal.MAX_CODE), part.amount("discount"))
            for part in data.objects("coupon_lines", most=MAX_LINES)
        ),
    )


def _line(line: Fields, taxed: bool) -> NormalItem:
    """`total` is after discounts and without tax; where the shop's prices hold the tax, it is paid for the goods."""
    tax = line.amount_or_zero("total_tax") if taxed else Decimal(0)
    name = line.clipped("name", most=normal.MAX_PRODUCT_NAME)
    return NormalItem(
        product_id=line.clipped("product_id", most=normal.MAX_PRODUCT_ID)
        or name[: normal.MAX_PRODUCT_ID]
        or "-",
        product_name=name,
        quantity=line.whole("quantity", default=1, most=normal.MAX_QUANTITY),
        amount=line.amount_or_zero("total") + tax,
    )


def _refunds(data: Fields, placed: NormalEvent) -> list[NormalEvent]:
    """Only the total of a refund is told (negative, shipping included): never more than the goods cost."""
    at = data.moment("date_modified_gmt", utc=True) or placed.occurred_at
    left = placed.amount or Decimal(0)
    events = []
    for refund in data.objects("refunds", most=MAX_LINES):
        back = min(abs(refund.amount("total") or Decimal(0)), left)
        left -= back
        key = refund.text("id", most=normal.MAX_SOURCE_KEY, required=True)
        events.append(_about(placed, EventKind.REFUNDED, key=key, at=at, amount=back))
    return events


def _about(
    placed: NormalEvent, kind: EventKind, *, key: str, at: datetime, amount: Decimal | None = None
) -> NormalEvent:
    return NormalEvent(
        source_key=key,
        kind=kind,
        occurred_at=at,
        customer=placed.customer,
        amount=amount,
        currency=placed.currency if amount is not None else "",
        order_key=placed.order_key,
        email=placed.email,
    )


def _buyer(data: Fields, placed: NormalEvent) -> NormalCustomer:
    return _person(placed.customer or "", data.part("billing"), Fields({}))


def customer_record(data: Fields) -> Found:
    """A customer, and the fact that they signed up."""
    key = data.text("id", most=normal.MAX_REFERENCE, required=True)
    if not data.has("email"):
        return Found(thin=(Thin(0, "customers", key),))
    signed_up_at = data.moment("date_created_gmt", utc=True)
    person = _person(key, data.part("billing"), data)
    ours = (Shown(key, shown(data.values)),)
    if signed_up_at is None:
        return Found(customers=(person,), shown=ours)
    signed_up = NormalEvent(source_key=key, kind=EventKind.SIGNED_UP, occurred_at=signed_up_at, customer=key)
    return Found((signed_up,), (person,), shown=ours)


def _person(reference: str, billing: Fields, data: Fields) -> NormalCustomer:
    """The account's own details, and those of the bill where it has none."""

    def either(name: str, most: int) -> str:
        return data.clipped(name, most=most) or billing.clipped(name, most=most)

    return NormalCustomer(
        reference=reference,
        email=either("email", 254),
        first_name=either("first_name", 150),
        last_name=either("last_name", 150),
        phone=billing.clipped("phone", most=50),
        country=billing.clipped("country", most=64),
        signed_up_at=data.moment("date_created_gmt", utc=True),
        updated_at=data.moment("date_modified_gmt", utc=True),
    )


def deleted_customer(data: Fields) -> Found:
    key = data.text("id", most=normal.MAX_REFERENCE, required=True)
    return Found(privacy=(PrivacyRequest(PrivacyKind.DELETED, key),))


def deleted_order(data: Fields) -> Found:
    """A deleted order was cleared away by the shop; who had ordered is no longer told, and what was paid stays true."""
    data.text("id", most=normal.MAX_SOURCE_KEY, required=True)
    return Found()
