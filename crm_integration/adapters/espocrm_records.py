"""EspoCRM's contacts and opportunities in the normal form. A message is a list of records and does not say of which kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from django.utils.translation import gettext as _

from crm_integration.adapters.base import Found, Shown, Thin
from crm_integration.adapters.espocrm_push import shown
from crm_integration.adapters.reading import BadField, Fields
from segmentation import normal
from segmentation.kinds import EventKind
from segmentation.normal import NormalConsent, NormalCustomer, NormalEvent

WON = "Closed Won"
PERSON = frozenset({"emailAddress", "firstName", "lastName", "phoneNumber", "emailAddressIsOptedOut"})
TIMES = frozenset({"createdAt", "modifiedAt"})
OF_AN_ORDER = frozenset({"amount", "contactId"})
KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")


def kind_of(entry: Fields) -> str:
    """What a record is, by its fields: the message does not say."""
    if "stage" in entry.values:
        return "Opportunity"
    return "Contact" if PERSON & set(entry.values) else ""


def read(entry: Fields) -> Found:
    """A record of a message, which may be a part of it: what is needed and not told is to be fetched."""
    kind = kind_of(entry)
    if not kind:
        return Found()
    if not _is_partial(kind, entry):
        return READERS[kind](entry)
    thin = (Thin(0, kind, entry.text("id", most=normal.MAX_REFERENCE, required=True)),)
    return Found(thin=thin) if kind == "Opportunity" else replace(_contact(entry), thin=thin)


def _is_partial(kind: str, entry: Fields) -> bool:
    """An update tells only what changed, and never `modifiedAt`: a sale lacks its time, and so does a refusal."""
    key, told = entry.values.get("id"), set(entry.values)
    if not (isinstance(key, str) and KEY.fullmatch(key)):
        return False
    if kind == "Contact":
        return entry.flag("emailAddressIsOptedOut") and not TIMES & told
    return entry.text("stage", most=100) == WON and not (TIMES & told and told >= OF_AN_ORDER)


def _contact(entry: Fields) -> Found:
    reference = entry.text("id", most=normal.MAX_REFERENCE, required=True)
    created_at = entry.moment("createdAt", utc=True)
    changed_at = entry.moment("modifiedAt", utc=True) or created_at
    refused = entry.flag("emailAddressIsOptedOut")
    person = NormalCustomer(
        reference=reference,
        email=entry.clipped("emailAddress", most=254),
        first_name=entry.clipped("firstName", most=150),
        last_name=entry.clipped("lastName", most=150),
        phone=entry.clipped("phoneNumber", most=50),
        country=entry.clipped("addressCountry", most=64),
        signed_up_at=created_at,
        consents=(NormalConsent("marketing", "denied", changed_at),) if refused and changed_at else (),
        updated_at=changed_at,
    )
    ours = (Shown(reference, shown(entry.values)),)
    if created_at is None:
        return Found(customers=(person,), shown=ours)
    return Found((NormalEvent(reference, EventKind.SIGNED_UP, created_at, reference),), (person,), shown=ours)


def _opportunity(entry: Fields) -> Found:
    """A won opportunity is an order of its contact; one that is still open, or lost, says nothing."""
    key = entry.text("id", most=normal.MAX_SOURCE_KEY, required=True)
    if entry.text("stage", most=100) != WON:
        return Found()
    changed_at = entry.moment("modifiedAt", utc=True) or entry.moment("createdAt", utc=True)
    if changed_at is None or not entry.has("amount"):
        name = "modifiedAt" if changed_at is None else "amount"
        raise BadField(_("%(field)s is missing.") % {"field": entry.name(name)})
    bought = NormalEvent(
        source_key=key,
        kind=EventKind.ORDER_PLACED,
        occurred_at=entry.moment("closeDate", utc=True) or changed_at,
        customer=entry.text("contactId", most=normal.MAX_REFERENCE, required=True),
        source_version=int(changed_at.timestamp() * 1000),
        amount=entry.amount_or_zero("amount"),
        currency=entry.text("amountCurrency", most=3).upper(),
        order_key=key,
    )
    return Found((bought,))


READERS: dict[str, Callable[[Fields], Found]] = {"Contact": _contact, "Opportunity": _opportunity}
