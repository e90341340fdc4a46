"""EspoCRM: `Signature` = base64(webhook id + ":" + hex HMAC-SHA256 of the body); a list of records, without a topic."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from crm_integration import fetching, signatures
from crm_integration.adapters import espocrm_pages, espocrm_push
from crm_integration.adapters import espocrm_records as records
from crm_integration.adapters.base import (
    Adapter,
    Cursor,
    Delivery,
    Page,
    Parsed,
    Unreadable,
    collect,
    digest,
)
from crm_integration.adapters.examples import Example
from crm_integration.adapters.needs import Field, Need
from crm_integration.adapters.pushing import Names, Outcomes, PushKind, Values, Write
from crm_integration.adapters.reading import BadField, Fields, load_objects
from crm_integration.models import Connection
from crm_integration.schemes import Scheme
from crm_integration.signatures import BadSignature, Reason

MAX_RECORDS = 1000


class EspoCrmAdapter(Adapter):
    slug = "espocrm"
    label = "EspoCRM"
    secret_is_theirs = True
    has_several_secrets = True  # each webhook has its own
    can_reconcile = True
    # A name of the administrator's own begins with “c”, which EspoCRM puts there itself.
    pushing = PushKind(
        batch=espocrm_push.BATCH,
        prefix="cTierwise",
        in_camel_case=True,
        name_pattern=r"[a-z][A-Za-z0-9]{0,98}",
    )
    can_read_back = True
    api_root: ClassVar[str] = "{site}"
    blurb = _(
        "Contacts and won opportunities of an EspoCRM installation. What its webhooks lose is found every night."
    )
    secret_hint = _(
        "On each webhook's page in EspoCRM, shown once it is saved. Enter all of them, with a space between."
    )
    scheme = Scheme("signature", encoding="hex", wrapping="test:{signature}", armoured=True)
    example = Example(
        [{"id": "{person}", "firstName": "Test", "createdAt": "{now}", "modifiedAt": "{now}"}],
    )
    topics = ("Contact.create", "Contact.update", "Opportunity.create", "Opportunity.update")
    needs = (
        Need(
            "site",
            _("Address of EspoCRM"),
            _("Such as https://crm.example.com; to fetch and compare records and to write to contacts."),
            Field.ADDRESS,
        ),
        Need(
            "api_key",
            _("API key"),
            _(
                "Of an API user whose role may read all contacts and opportunities (and edit contacts, to write)."
            ),
            Field.SECRET,
        ),
    )
    steps = (
        _(
            "In EspoCRM, open Administration → Webhooks and add one for each event below, with the address of this page."
        ),
        _(
            "Each webhook has a secret of its own; enter them all here, with a space between. One connection takes them all."
        ),
        _("An opportunity counts as an order when it is won; it needs an amount and a contact."),
        _(
            "To write to contacts, add the text fields below in the Entity Manager first; EspoCRM ignores a field it does "
            "not have."
        ),
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
        kinds = [records.kind_of(entry) for entry in entries]
        if not any(kinds):
            return Parsed("", is_known=False)
        title = " + ".join(sorted({kind for kind in kinds if kind}))
        return collect(title, enumerate(entries), records.read)

    def hydrate(self, parsed: Parsed, connection: Connection) -> Parsed:
        return espocrm_pages.hydrated(parsed, connection, self._api)

    def pages(
        self, connection: Connection, *, since: datetime, until: datetime, cursor: Cursor | None
    ) -> Iterator[Page]:
        return espocrm_pages.pages(self._api(connection), since=since, until=until, cursor=cursor)

    def push(self, connection: Connection, writes: Sequence[Write], *, names: Names) -> Outcomes:
        return espocrm_push.push(self._api(connection), writes)

    def probe(self, connection: Connection, *, names: Names) -> None:
        espocrm_push.probe(self._api(connection))

    def read_back(
        self, connection: Connection, references: Sequence[str], *, names: Names
    ) -> Mapping[str, Values]:
        return espocrm_push.read_back(self._api(connection), references, names=names)

    def _api(self, connection: Connection) -> fetching.Api:
        [key] = fetching.credentials(connection, "api_key")
        root = self.api_root.format(site=str(connection.options.get("site", "")).rstrip("/"))
        return fetching.Api(f"{root}/api/v1", {"X-Api-Key": key, "X-No-Total": "true"}, time.sleep)
