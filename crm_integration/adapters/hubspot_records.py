"""HubSpot's contacts and won deals in the normal form."""

from __future__ import annotations

from django.utils.translation import gettext as _

from crm_integration.adapters.base import Found
from crm_integration.adapters.reading import BadField, Fields
from segmentation import normal
from segmentation.kinds import EventKind
from segmentation.normal import NormalConsent, NormalCustomer, NormalEvent

PROPERTIES = {
    "contacts": (
        "email",
        "firstname",
        "lastname",
        "phone",
        "mobilephone",
        "country",
        "hs_language",
        "createdate",
        "lastmodifieddate",
        "hs_email_optout",
    ),
    "deals": (
        "amount",
        "closedate",
        "createdate",
        "deal_currency_code",
        "hs_is_closed_won",
        "hs_lastmodifieddate",
    ),
}


def contact(row: Fields) -> Found:
    """A contact, and the fact that they became one. Not having opted out is no consent."""
    told = row.part("properties")
    reference = row.text("id", most=normal.MAX_REFERENCE, required=True)
    created_at, changed_at = told.moment("createdate"), told.moment("lastmodifieddate")
    refused = told.flag("hs_email_optout") and changed_at is not None
    person = NormalCustomer(
        reference=reference,
        email=told.clipped("email", most=254),
        first_name=told.clipped("firstname", most=150),
        last_name=told.clipped("lastname", most=150),
        phone=told.clipped("phone", most=50) or told.clipped("mobilephone", most=50),
        country=told.clipped("country", most=64),
        language=told.clipped("hs_language", most=35),
        signed_up_at=created_at,
        consents=(NormalConsent("marketing", "denied", changed_at),) if refused and changed_at else (),
        updated_at=changed_at,
    )
    if created_at is None:
        return Found(customers=(person,))
    return Found((NormalEvent(reference, EventKind.SIGNED_UP, created_at, reference),), (person,))


def deal(row: Fields, owner: str | None) -> Found:
    """A won deal is an order of its first contact; any other deal says nothing yet."""
    told = row.part("properties")
    key = row.text("id", most=normal.MAX_SOURCE_KEY, required=True)
    if not told.flag("hs_is_closed_won"):
        return Found()
    if not owner:
        raise BadField(
            _("The deal %(deal)s names no contact, so nobody can be said to have bought.") % {"deal": key}
        )
    if not told.values.get("amount"):
        raise BadField(_("%(field)s is missing.") % {"field": told.name("amount")})
    changed_at = told.moment("hs_lastmodifieddate")
    closed_at = told.moment("closedate") or changed_at
    if closed_at is None:
        raise BadField(_("%(field)s is missing.") % {"field": told.name("closedate")})
    bought = NormalEvent(
        source_key=key,
        kind=EventKind.ORDER_PLACED,
        occurred_at=closed_at,
        customer=owner,
        source_version=int(changed_at.timestamp() * 1000) if changed_at else 0,
        amount=told.amount_or_zero("amount"),
        currency=told.text("deal_currency_code", most=3).upper(),
        order_key=key,
    )
    return Found((bought,))
