"""The normal form every source is brought into before it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation.kinds import EventKind

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
MAX_AHEAD = timedelta(days=1)
MAX_SOURCE_KEY = 200
MAX_REFERENCE = 128
MAX_PRODUCT_ID = 128
MAX_PRODUCT_NAME = 300
MAX_CATEGORY = 200
MAX_TEXT = 20_000
MAX_CODE = 64
MAX_CODES = 20
MAX_QUANTITY = 10_000_000
MAX_AMOUNT_MINOR = 10**12
MAX_AMOUNT_DIGITS = 15
MAX_UNITS = 2**31 - 1  # of a whole event
MAX_VERSION = 2**62
RATINGS = (1.0, 5.0)
# Longest text kept of each field that says something about a customer.
PROFILE_LIMITS = {
    "email": 254,
    "first_name": 150,
    "last_name": 150,
    "phone": 50,
    "country": 64,
    "channel": 64,
    "language": 35,
}
CUSTOMER = gettext_lazy("customer")  # looked up for the few that have a problem
PURPOSES = ("marketing", "profiling")
ANSWERS = ("granted", "denied")


@dataclass(frozen=True)
class NormalItem:
    """A line of an event; `amount` is what was paid for the whole line, in major units of the event's currency."""

    product_id: str
    product_name: str = ""
    category: str = ""
    quantity: int = 1
    amount: Decimal = Decimal(0)


@dataclass(frozen=True)
class NormalCode:
    """A discount code used with an order; `discount` is what it took off, in major units, where the source says."""

    code: str
    discount: Decimal | None = None


# Of a change that says that its order has no code any more; one that is silent about codes takes none back.
NO_CODES: Final = (NormalCode(""),)


@dataclass(frozen=True)
class NormalEvent:
    """One fact. Money in major units of `currency` (empty: the shop's), goods paid, discounts already off.

    `source_key` names the fact at its source; a higher `source_version` replaces a lower one.
    `customer` is the reference in the source's namespace, None for a guest.
    """

    source_key: str
    kind: EventKind
    occurred_at: datetime
    customer: str | None
    source_version: int = 0
    amount: Decimal | None = None
    discount: Decimal | None = None
    currency: str = ""
    items: tuple[NormalItem, ...] = ()
    rating: float | None = None
    text: str = ""
    order_key: str = ""
    email: str = ""
    channel: str = ""
    codes: tuple[NormalCode, ...] = ()


@dataclass(frozen=True)
class NormalConsent:
    purpose: str
    status: str
    decided_at: datetime


@dataclass(frozen=True)
class NormalCustomer:
    """What a source says about a customer; empty values say nothing and change nothing."""

    reference: str
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    phone: str = ""
    country: str = ""
    channel: str = ""
    language: str = ""
    birthday: date | None = None
    signed_up_at: datetime | None = None
    consents: tuple[NormalConsent, ...] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)
    updated_at: datetime | None = None


@dataclass(frozen=True)
class Rejection:
    """`index` is the position in what was handed in."""

    index: int
    reason: str


@dataclass(frozen=True)
class IngestReport:
    created: int = 0
    repeated: int = 0
    anonymous: int = 0
    erased: int = 0  # of people who were erased: not stored
    customers_created: int = 0
    customer_ids: frozenset[int] = frozenset()
    rejected: tuple[Rejection, ...] = ()


def time_problem(moment: datetime, *, received_at: datetime, frozen: bool) -> str:
    """Why this time cannot be true, or nothing. A frozen shop lives in the past, so its future is not judged."""
    if moment.tzinfo is None:
        return _("The time %(time)s has no time zone.") % {"time": moment.isoformat()}
    if moment < EARLIEST:
        return _("The time %(time)s is before 1990.") % {"time": moment.isoformat()}
    if moment > LATEST or (not frozen and moment > received_at + MAX_AHEAD):
        return _("The time %(time)s lies in the future.") % {"time": moment.isoformat()}
    return ""


def event_problem(event: NormalEvent, *, received_at: datetime, frozen: bool) -> str:
    """Why this event cannot be stored, or nothing."""
    problem = time_problem(event.occurred_at, received_at=received_at, frozen=frozen)
    return problem or _key_problem(event) or _number_problem(event)


def customer_problem(customer: NormalCustomer) -> str:
    """Why this cannot be stored about a customer, or nothing."""
    if not customer.reference.strip():
        return _("The customer has no id.")
    fields: list[tuple[str | Promise, str, int]] = [(CUSTOMER, customer.reference, MAX_REFERENCE)]
    fields += [(name, getattr(customer, name), most) for name, most in PROFILE_LIMITS.items()]
    moments = [
        customer.signed_up_at,
        customer.updated_at,
        *(consent.decided_at for consent in customer.consents),
    ]
    for moment in moments:
        if moment is not None and not (moment.tzinfo and EARLIEST <= moment <= LATEST):
            return _("The time %(time)s has no time zone or cannot be true.") % {"time": moment.isoformat()}
    for consent in customer.consents:
        if consent.purpose not in PURPOSES or consent.status not in ANSWERS:
            return _("“%(value)s” is not an answer about consent; use granted or denied.") % {
                "value": f"{consent.purpose}: {consent.status}"[:80]
            }
    return text_problem(fields)


def text_problem(fields: Iterable[tuple[str | Promise, str, int]]) -> str:
    """The first of (name, text, most characters) that is too long or cannot be stored, as a sentence."""
    for name, value, most in fields:
        if len(value) > most:
            return _("The %(field)s is %(length)d characters long; at most %(most)d are kept.") % {
                "field": name,
                "length": len(value),
                "most": most,
            }
        if not is_clean(value):
            return _("The %(field)s contains characters that are not text.") % {"field": name}
    return ""


def is_clean(text: str) -> bool:
    """Whether every database can store it: no NUL and no half of a surrogate pair."""
    if "\x00" in text:
        return False
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _key_problem(event: NormalEvent) -> str:
    if not event.source_key:
        return _("The event has no id.")
    fields = [
        (_("id"), event.source_key, MAX_SOURCE_KEY),
        (_("customer"), event.customer or "", MAX_REFERENCE),
        (_("order"), event.order_key, MAX_SOURCE_KEY),
        (_("text"), event.text, MAX_TEXT),
        (_("e-mail"), event.email, PROFILE_LIMITS["email"]),
        (_("channel"), event.channel, PROFILE_LIMITS["channel"]),
    ]
    for item in event.items:
        fields += [
            (_("product"), item.product_id, MAX_PRODUCT_ID),
            (_("product name"), item.product_name[:MAX_PRODUCT_NAME], MAX_PRODUCT_NAME),
            (_("category"), item.category[:MAX_CATEGORY], MAX_CATEGORY),
        ]
    fields += [(_("discount code"), code.code, MAX_CODE) for code in event.codes]
    return text_problem(fields)


def _number_problem(event: NormalEvent) -> str:
    for item in event.items:
        if not 0 <= item.quantity <= MAX_QUANTITY:
            return _("The quantity %(quantity)d is not between 0 and %(most)d.") % {
                "quantity": item.quantity,
                "most": MAX_QUANTITY,
            }
    if sum(item.quantity for item in event.items) > MAX_UNITS or abs(event.source_version) > MAX_VERSION:
        return _("The quantities or the version are too large to be true.")
    told = (*(item.amount for item in event.items), *(code.discount for code in event.codes))
    for amount in (event.amount, event.discount, *told):
        if amount is None:
            continue
        if not amount.is_finite() or amount < 0:
            return _("The amount %(amount)s is not a number of zero or more.") % {"amount": str(amount)[:40]}
        if amount.adjusted() > MAX_AMOUNT_DIGITS:
            return _("The amount %(amount)s is too large to be true.") % {"amount": str(amount)[:40]}
    if event.rating is not None and not RATINGS[0] <= event.rating <= RATINGS[1]:
        return _("The rating %(rating)s is not between 1 and 5.") % {"rating": event.rating}
    return ""
