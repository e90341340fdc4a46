"""EspoCRM: `Signature` = base64(webhook id + ":" + hex HMAC-SHA256 of the body); a list of records, without a topic."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from crm_integration import signatures
from crm_integration.adapters.base import Adapter, Delivery, Found, Parsed, Unreadable, collect, digest
from crm_integration.adapters.reading import BadField, Fields, load_objects
from crm_integration.signatures import BadSignature, Reason
from segmentation import normal
from segmentation.kinds import EventKind
from segmentation.normal import NormalConsent, NormalCustomer, NormalEvent

MAX_RECORDS = 1000
WON = "Closed Won"
PERSON = frozenset({"emailAddress", "firstName", "lastName", "phoneNumber", "emailAddressIsOptedOut"})


class EspoCrmAdapter(Adapter):
    slug = "espocrm"
    label = "EspoCRM"
    secret_is_theirs = True
    topics = ("Contact.create", "Contact.update", "Opportunity.create", "Opportunity.update")
    steps = (
        _(
            "In EspoCRM, open Administration → Webhooks and add one for each event below, with the address above."
        ),
        _("Each webhook has a secret of its own, so each needs a connection of its own here."),
        _("An opportunity counts as an order when it is won; it needs an amount and a contact."),
    )

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: int) -> None:
        header = delivery.headers.get("signature", b"")
        if not secrets:
            raise BadSignature(Reason.NO_SECRET)
        if not header:
            raise BadSignature(Reason.MISSING_HEADERS)
        try:
            told = base64.b64decode(header, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadSignature(Reason.WRONG_SIGNATURE) from error
        _webhook, colon, given = told.partition(b":")
        if not (colon and given):
            raise BadSignature(Reason.WRONG_SIGNATURE)
        signatures.verify_mac([given], delivery.body, secrets=secrets, encoding="hex")

    def dedupe_key(self, delivery: Delivery) -> str:
        return digest(delivery.body)

    def parse(self, body: bytes, *, message_key: str, topic: str = "") -> Parsed:
        try:
            found = load_objects(body)
            if len(found) > MAX_RECORDS:
                raise BadField(_t("The body holds too many events."))
        except BadField as problem:
            raise Unreadable(str(problem)) from problem
        entries = [Fields(record, f"[{number}]") for number, record in enumerate(found)]
        kinds = [_kind(entry) for entry in entries]
        if not any(kinds):
            return Parsed("", is_known=False)
        title = " + ".join(sorted({kind for kind in kinds if kind}))
        return collect(title, enumerate(entries), _read)


def _kind(entry: Fields) -> str:
    """What a record is, by its fields: the message does not say."""
    if "stage" in entry.values:
        return "Opportunity"
    return "Contact" if PERSON & set(entry.values) else ""


def _read(entry: Fields) -> Found:
    kind = _kind(entry)
    if not kind:
        return Found()
    return _opportunity(entry) if kind == "Opportunity" else _contact(entry)


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
    if created_at is None:
        return Found(customers=(person,))
    return Found((NormalEvent(reference, EventKind.SIGNED_UP, created_at, reference),), (person,))


def _opportunity(entry: Fields) -> Found:
    """A won opportunity is an order of its contact; one that is still open, or lost, says nothing."""
    key = entry.text("id", most=normal.MAX_SOURCE_KEY, required=True)
    if entry.text("stage", most=100) != WON:
        return Found()
    changed_at = entry.moment("modifiedAt", utc=True) or entry.moment("createdAt", utc=True)
    if changed_at is None or not entry.has("amount"):
        name = "modifiedAt" if changed_at is None else "amount"
        raise BadField(_t("%(field)s is missing.") % {"field": entry.name(name)})
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
