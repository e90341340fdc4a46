"""Stripe: `t.body` under v1, several signatures while a secret is replaced (https://docs.stripe.com/webhooks)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import ClassVar

from django.utils.translation import gettext_lazy as _

from crm_integration import fetching, signatures
from crm_integration.adapters import stripe_records as records
from crm_integration.adapters.base import (
    Adapter,
    Cursor,
    Delivery,
    Found,
    Page,
    Parsed,
    Unreadable,
    collect,
    digest,
)
from crm_integration.adapters.examples import Example
from crm_integration.adapters.needs import Field, Need
from crm_integration.adapters.reading import BadField, Fields, load_object
from crm_integration.models import Connection
from crm_integration.schemes import Scheme
from crm_integration.signatures import BadSignature, Reason

PAGE_SIZE = 100
MAX_ID = 200


class StripeAdapter(Adapter):
    slug = "stripe"
    label = "Stripe"
    secret_is_theirs = True
    retries_are_identical = False  # pending_webhooks counts down
    can_reconcile = True
    api_root: ClassVar[str] = "https://api.stripe.com"
    topics = tuple(records.TOPICS)
    blurb = _("Payments, invoices and refunds. Stripe tells a new endpoint's secret once it has the address.")
    secret_hint = _("On the endpoint's page in Stripe, under “Signing secret”: it starts with whsec_.")
    scheme = Scheme(
        "stripe-signature",
        encoding="hex",
        base="{timestamp}.{body}",
        wrapping="t={timestamp},v1={signature}",
    )
    example = Example(
        {
            "id": "evt_{key}",
            "object": "event",
            "type": "customer.created",
            "created": "{epoch}",
            "livemode": True,
            "data": {
                "object": {"id": "{person}", "object": "customer", "name": "Test", "created": "{epoch}"}
            },
        }
    )
    needs = (
        Need(
            "secret_key",
            _("Restricted API key"),
            _("Starts with rk_live_. “Read” for events is enough. Stripe lists events of the last 30 days."),
            Field.SECRET,
        ),
    )
    steps = (
        _(
            "In Stripe, open Developers → Webhooks and add an endpoint with the address of this page and the topics below."
        ),
        _("Copy the endpoint's signing secret (whsec_…) and enter it on this page."),
        _("Shipping is left out where Stripe tells it: in checkout sessions, invoices and payment details."),
    )

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: int) -> None:
        header = delivery.headers.get("stripe-signature", b"")
        if not secrets:
            raise BadSignature(Reason.NO_SECRET)
        if not header:
            raise BadSignature(Reason.MISSING_HEADERS)
        pairs = [part.partition(b"=") for part in header.split(b",")]
        times = [value for name, _equals, value in pairs if name.strip() == b"t"]
        if len(times) != 1:  # two times: which one was signed would be the sender's choice
            raise BadSignature(Reason.BAD_TIMESTAMP)
        signatures.check_time(signatures.read_timestamp(times[0]), now=now)
        given = [value for name, _equals, value in pairs if name.strip() == b"v1"]
        content = times[0] + b"." + delivery.body
        signatures.verify_mac(given, content, secrets=secrets, encoding="hex")

    def dedupe_key(self, delivery: Delivery) -> str:
        try:
            key = Fields(load_object(delivery.body)).text("id", most=MAX_ID)
        except BadField:
            key = ""
        return key or digest(delivery.body)

    def parse(self, body: bytes, *, message_key: str, topic: str = "") -> Parsed:
        try:
            event = Fields(load_object(body))
            name = event.text("type", most=100, required=True)
        except BadField as problem:
            raise Unreadable(str(problem)) from problem
        if name not in records.TOPICS:
            return Parsed(name, is_known=False)
        if event.values.get("livemode") is False:
            return Parsed(name, is_test=True)
        return collect(name, [(0, event)], records.read)

    def pages(
        self, connection: Connection, *, since: datetime, until: datetime, cursor: Cursor | None
    ) -> Iterator[Page]:
        [key] = fetching.credentials(connection, "secret_key")
        api = fetching.Api(self.api_root, fetching.bearer(key), time.sleep)
        at: Cursor | None = cursor or {"after": None}
        times = {"created[gte]": int(since.timestamp()), "created[lte]": int(until.timestamp())}
        while at is not None:
            asked = {
                "limit": PAGE_SIZE,
                "starting_after": at["after"],
                "types[]": list(records.TOPICS),
                **times,
            }
            content = fetching.content(api.get_list("/v1/events", **asked))
            rows = fetching.rows(content, "data")
            more = bool(rows) and Fields(content).flag("has_more")
            at = {"after": str(rows[-1].get("id"))} if more else None
            entries = [(number, Fields(row, f"data[{number}]")) for number, row in enumerate(rows)]
            yield Page(collect("events", entries, _live), at)


def _live(event: Fields) -> Found:
    return Found() if event.values.get("livemode") is False else records.read(event)
