"""The topics of the generic webhook and what each becomes (the format is documented in docs/webhooks.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from django.utils.translation import gettext as _

from crm_integration.adapters.base import Found, Merged, PrivacyKind, PrivacyRequest
from crm_integration.adapters.reading import BadField, Fields, used_codes
from segmentation import normal
from segmentation.kinds import EventKind
from segmentation.normal import NormalCode, NormalConsent, NormalCustomer, NormalEvent, NormalItem

MAX_ITEMS = 500
MAX_ATTRIBUTES = 100
MAX_MERGED = 50
MAX_SHORT = 64
MAX_EMAIL = 254
PURPOSES = ("marketing", "profiling")
STATUSES = ("granted", "denied")


@dataclass(frozen=True)
class Entry:
    """One envelope: its `data`, when it happened, and a key for facts without an id of their own."""

    data: Fields
    at: datetime
    key: str


Reader = Callable[[Entry], Found]


def read(envelope: Fields, *, fallback_key: str) -> Found:
    """What one envelope {type, timestamp, data} says. Raises BadField."""
    topic = envelope.text("type", most=100, required=True)
    reader = TOPICS.get(topic)
    if reader is None:
        raise BadField(_("%(field)s is not a known topic.") % {"field": envelope.name("type")})
    at = envelope.moment("timestamp")
    if at is None:
        raise BadField(_("%(field)s is missing.") % {"field": envelope.name("timestamp")})
    data = envelope.object("data", required=True)
    assert data is not None
    key = envelope.text("id", most=normal.MAX_SOURCE_KEY) or fallback_key
    return reader(Entry(data, at, key))


@dataclass(frozen=True)
class Who:
    reference: str | None
    email: str
    details: NormalCustomer | None


def _who(entry: Entry) -> Who:
    """`customer` is the shop's id, or an object with more; a guest order may carry `email` alone."""
    email = entry.data.text("email", most=MAX_EMAIL)
    if isinstance(entry.data.values.get("customer"), dict):
        fields = entry.data.object("customer", required=True)
        assert fields is not None
        details = _customer(fields, updated_at=entry.at)
        return Who(details.reference, email or details.email, details)
    reference = entry.data.text("customer", most=normal.MAX_REFERENCE)
    if not reference and not email:
        raise BadField(_("%(field)s is missing.") % {"field": entry.data.name("customer")})
    return Who(reference or None, email, None)


def _customer(fields: Fields, *, updated_at: datetime) -> NormalCustomer:
    return NormalCustomer(
        reference=fields.text("reference", most=normal.MAX_REFERENCE, required=True),
        email=fields.text("email", most=MAX_EMAIL),
        first_name=fields.text("first_name", most=100),
        last_name=fields.text("last_name", most=100),
        phone=fields.text("phone", most=MAX_SHORT),
        country=fields.text("country", most=MAX_SHORT),
        channel=fields.text("channel", most=MAX_SHORT),
        language=fields.text("language", most=MAX_SHORT),
        birthday=fields.day("birthday"),
        signed_up_at=fields.moment("signed_up_at"),
        consents=tuple(_consent(consent, at=updated_at) for consent in fields.objects("consents", most=20)),
        attributes=_attributes(fields),
        updated_at=updated_at,
    )


def _attributes(fields: Fields) -> dict[str, object]:
    given = fields.object("attributes")
    if given is None:
        return {}
    if len(given.values) > MAX_ATTRIBUTES:
        raise BadField(_("%(field)s holds too many entries.") % {"field": given.path})
    read: dict[str, object] = {}
    for name, value in given.values.items():
        if not isinstance(value, str | int | float | bool | None) or len(name) > MAX_SHORT:
            raise BadField(
                _("%(field)s must be text, a number, true or false.")
                % {"field": given.name(name[:MAX_SHORT])}
            )
        read[name] = given.text(name, most=500) if isinstance(value, str) else value
    return read


def _consent(fields: Fields, *, at: datetime) -> NormalConsent:
    purpose = fields.text("purpose", most=MAX_SHORT, required=True)
    status = fields.text("status", most=MAX_SHORT, required=True)
    for name, value, known in (("purpose", purpose, PURPOSES), ("status", status, STATUSES)):
        if value not in known:
            raise BadField(
                _("%(field)s must be one of: %(known)s.")
                % {"field": fields.name(name), "known": ", ".join(known)}
            )
    return NormalConsent(purpose, status, fields.moment("decided_at") or at)


def _items(data: Fields) -> tuple[NormalItem, ...]:
    """The lines of an order or cart; or the one product named by `product` itself."""
    lines = data.objects("items", most=MAX_ITEMS)
    product = data.object("product") if isinstance(data.values.get("product"), dict) else None
    if product is not None:
        return (_item(product),)
    if not lines and data.has("product"):
        return (NormalItem(product_id=data.text("product", most=normal.MAX_PRODUCT_ID)),)
    return tuple(_item(line) for line in lines)


def _item(line: Fields) -> NormalItem:
    return NormalItem(
        product_id=line.text("product_id", most=normal.MAX_PRODUCT_ID, required=True),
        product_name=line.text("name", most=normal.MAX_PRODUCT_NAME),
        category=line.text("category", most=normal.MAX_CATEGORY),
        quantity=line.whole("quantity", default=1, most=normal.MAX_QUANTITY),
        amount=_positive(line, "amount") or Decimal(0),
    )


def _positive(fields: Fields, field: str) -> Decimal | None:
    amount = fields.amount(field)
    if amount is not None and amount < 0:
        raise BadField(_("%(field)s must not be negative.") % {"field": fields.name(field)})
    return amount


def _event(kind: EventKind, entry: Entry, *, key: str, order: str = "", who: Who) -> NormalEvent:
    data = entry.data
    return NormalEvent(
        source_key=key,
        kind=kind,
        occurred_at=data.moment("occurred_at") or entry.at,
        customer=who.reference,
        source_version=data.whole("version", default=0),
        amount=_positive(data, "amount"),
        discount=_positive(data, "discount"),
        currency=data.text("currency", most=3).upper(),
        items=_items(data),
        order_key=order,
        email=who.email,
        channel=data.text("channel", most=MAX_SHORT),
        codes=_codes(data, kind),
    )


def _codes(data: Fields, kind: EventKind) -> tuple[NormalCode, ...]:
    """`discount_codes`: texts, or objects {code, amount}; an empty list in a change takes back what it redeemed."""
    given = data.values.get("discount_codes")
    if given == [] and kind is EventKind.ORDER_CHANGED:
        return normal.NO_CODES
    if isinstance(given, list) and all(isinstance(one, str) for one in given):
        wrapped = [{"code": one} for one in given]
        data = Fields({**data.values, "discount_codes": wrapped}, data.path)
    parts = data.objects("discount_codes", most=normal.MAX_CODES)
    return used_codes((part.text("code", most=normal.MAX_CODE), _positive(part, "amount")) for part in parts)


def _found(event: NormalEvent, who: Who) -> Found:
    return Found((event,), (who.details,) if who.details else ())


def _order(kind: EventKind) -> Reader:
    needs_amount = kind in {EventKind.ORDER_PLACED, EventKind.ORDER_CHANGED}

    def reader(entry: Entry) -> Found:
        order = entry.data.text("order_id", most=normal.MAX_SOURCE_KEY, required=True)
        if needs_amount and not entry.data.has("amount"):
            raise BadField(_("%(field)s is missing.") % {"field": entry.data.name("amount")})
        who = _who(entry)
        # A change is a fact of its own each time; an order is placed, and cancelled, once.
        key = entry.key if kind is EventKind.ORDER_CHANGED else order
        return _found(_event(kind, entry, key=key, order=order, who=who), who)

    return reader


def _refund(entry: Entry) -> Found:
    order = entry.data.text("order_id", most=normal.MAX_SOURCE_KEY, required=True)
    if not entry.data.has("amount"):
        raise BadField(_("%(field)s is missing.") % {"field": entry.data.name("amount")})
    who = _who(entry)
    key = entry.data.text("refund_id", most=normal.MAX_SOURCE_KEY) or entry.key
    return _found(_event(EventKind.REFUNDED, entry, key=key, order=order, who=who), who)


def _plain(kind: EventKind, *, id_field: str = "") -> Reader:
    """A fact with no more than who, when and perhaps what; `id_field` names its own id where it has one."""

    def reader(entry: Entry) -> Found:
        key = entry.data.text(id_field, most=normal.MAX_SOURCE_KEY) if id_field else ""
        who = _who(entry)
        event = _event(
            kind,
            entry,
            key=key or entry.key,
            order=entry.data.text("order_id", most=normal.MAX_SOURCE_KEY),
            who=who,
        )
        return _found(event, who)

    return reader


def _words(kind: EventKind, *, id_field: str, rated: bool = False) -> Reader:
    """A fact with the customer's own words: a review, a ticket, a complaint."""
    plain = _plain(kind, id_field=id_field)

    def reader(entry: Entry) -> Found:
        found = plain(entry)
        rating = entry.data.number("rating")
        if rated and rating is None:
            raise BadField(_("%(field)s is missing.") % {"field": entry.data.name("rating")})
        text = entry.data.prose("text", most=normal.MAX_TEXT)
        event = replace(found.events[0], rating=rating if rated else None, text=text)
        return Found((event,), found.customers)

    return reader


def _customer_changed(entry: Entry) -> Found:
    return Found(customers=(_customer(entry.data, updated_at=entry.at),))


def _customer_created(entry: Entry) -> Found:
    """A new account: the record, and the fact that somebody signed up."""
    customer = _customer(entry.data, updated_at=entry.at)
    signed_up = NormalEvent(
        source_key=customer.reference,
        kind=EventKind.SIGNED_UP,
        occurred_at=customer.signed_up_at or entry.at,
        customer=customer.reference,
    )
    return Found((signed_up,), (customer,))


def _consent_changed(entry: Entry) -> Found:
    reference = entry.data.text("customer", most=normal.MAX_REFERENCE, required=True)
    consent = _consent(entry.data, at=entry.at)
    return Found(customers=(NormalCustomer(reference=reference, consents=(consent,), updated_at=entry.at),))


def _customer_deleted(entry: Entry) -> Found:
    """The record is gone there; whether the person is to be erased here is for staff to say."""
    reference = entry.data.text("reference", most=normal.MAX_REFERENCE, required=True)
    return Found(privacy=(PrivacyRequest(PrivacyKind.DELETED, reference),))


def _customers_merged(entry: Entry) -> Found:
    kept = entry.data.text("kept", most=normal.MAX_REFERENCE, required=True)
    given = entry.data.values.get("gone")
    wrapped = [{"id": one} for one in given] if isinstance(given, list) else given
    data = Fields({"gone": wrapped}, entry.data.path)
    gone = [
        part.text("id", most=normal.MAX_REFERENCE, required=True)
        for part in data.objects("gone", most=MAX_MERGED)
    ]
    if not gone:
        raise BadField(_("%(field)s is missing.") % {"field": entry.data.name("gone")})
    return Found(merged=(Merged(kept, tuple(gone)),))


TOPICS: dict[str, Reader] = {
    "order.placed": _order(EventKind.ORDER_PLACED),
    "order.updated": _order(EventKind.ORDER_CHANGED),
    "order.cancelled": _order(EventKind.ORDER_CANCELLED),
    "order.refunded": _refund,
    "customer.created": _customer_created,
    "customer.updated": _customer_changed,
    "customer.merged": _customers_merged,
    "customer.deleted": _customer_deleted,
    "consent.changed": _consent_changed,
    "product.viewed": _plain(EventKind.VIEWED),
    "product.favourited": _plain(EventKind.FAVOURITED),
    "search.performed": _plain(EventKind.SEARCHED),
    "cart.item_added": _plain(EventKind.CART_ADDED),
    "cart.item_removed": _plain(EventKind.CART_REMOVED),
    "review.created": _words(EventKind.REVIEWED, id_field="review_id", rated=True),
    "ticket.opened": _words(EventKind.TICKET_OPENED, id_field="ticket_id"),
    "ticket.closed": _plain(EventKind.TICKET_CLOSED, id_field="ticket_id"),
    "complaint.received": _words(EventKind.COMPLAINED, id_field="complaint_id"),
}
