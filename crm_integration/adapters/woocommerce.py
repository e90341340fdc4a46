"""WooCommerce: HMAC of the body alone; the delivery id is no id (two events of one second share it)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _

from crm_integration import fetching, signatures
from crm_integration.adapters import woocommerce_push
from crm_integration.adapters import woocommerce_records as records
from crm_integration.adapters.base import (
    Adapter,
    Cursor,
    Delivery,
    Found,
    Page,
    Parsed,
    collect,
    digest,
    parse_object,
)
from crm_integration.adapters.examples import Example
from crm_integration.adapters.needs import Field, Need
from crm_integration.adapters.pushing import Names, Outcomes, PushKind, Values, Write
from crm_integration.adapters.reading import BadField, Fields, load_object
from crm_integration.models import Connection
from crm_integration.schemes import Scheme

# The first ping of a new webhook: form-encoded, unsigned, and switched off again unless it is answered with 200.
HELLO = re.compile(rb"webhook_id=[0-9]{1,12}")
PAGE_SIZE = 100
TOPICS: dict[str, Callable[[Fields], Found]] = {
    "order.created": records.order,
    "order.updated": records.order,
    "order.restored": records.order,
    "order.deleted": records.deleted_order,
    "customer.created": records.customer_record,
    "customer.updated": records.customer_record,
    "customer.deleted": records.deleted_customer,
}
READERS = {"customers": records.customer_record, "orders": records.order}


class WooCommerceAdapter(Adapter):
    slug = "woocommerce"
    label = "WooCommerce"
    signs_topic = False
    can_reconcile = True
    pushing = PushKind(batch=woocommerce_push.BATCH)
    can_read_back = True
    api_root: ClassVar[str] = "{site}"
    topics = tuple(TOPICS)
    blurb = _("Orders and customers of a WordPress shop. What its webhooks lose is found every night.")
    scheme = Scheme("x-wc-webhook-signature")
    example = Example(
        {
            "id": "{person}",
            "email": "",
            "first_name": "Test",
            "date_created_gmt": "{now}",
            "date_modified_gmt": "{now}",
        },
        {"x-wc-webhook-topic": "customer.created", "x-wc-webhook-delivery-id": "{key}"},
    )
    needs = (
        Need(
            "site",
            _("Address of the shop"),
            _("Such as https://shop.example.com"),
            Field.ADDRESS,
            required=True,
        ),
        Need(
            "consumer_key",
            _("REST API consumer key"),
            _("Starts with ck_; “Read” is enough, “Read/Write” to write to customers."),
            Field.SECRET,
        ),
        Need("consumer_secret", _("REST API consumer secret"), _("Starts with cs_."), Field.SECRET),
    )
    steps = (
        _("In WooCommerce, open Settings → Advanced → Webhooks and add one webhook for each topic below."),
        _("Use the address of this page as delivery URL, the signing secret as secret, and API version 3."),
        _("WooCommerce never sends a message twice: what is lost is found by the nightly comparison."),
        _("For that comparison create a REST API key (Settings → Advanced → REST API) that may read."),
    )

    def is_greeting(self, delivery: Delivery) -> bool:
        unsigned = "x-wc-webhook-signature" not in delivery.headers
        return unsigned and HELLO.fullmatch(delivery.body) is not None

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: int) -> None:
        given = delivery.headers.get("x-wc-webhook-signature", b"")
        signatures.verify_mac([given], delivery.body, secrets=secrets)

    def dedupe_key(self, delivery: Delivery) -> str:
        return digest(self.topic(delivery).encode(), _resource_id(delivery.body).encode(), delivery.body)

    def topic(self, delivery: Delivery) -> str:
        return delivery.headers.get("x-wc-webhook-topic", b"").decode("latin-1")

    def parse(self, body: bytes, *, message_key: str, topic: str = "") -> Parsed:
        return parse_object(body, topic, TOPICS)

    def hydrate(self, parsed: Parsed, connection: Connection) -> Parsed:
        if not parsed.thin:
            return parsed
        api = _api(self.api_root, connection)
        told = Parsed(parsed.topic)
        for thin in parsed.thin:
            answer = api.get(f"/{thin.kind}/{thin.key}") if thin.key.isdigit() else None
            if answer is not None:
                row = fetching.rows([fetching.content(answer)])[0]
                told = told.plus(collect(parsed.topic, [(thin.item, Fields(row))], READERS[thin.kind]))
        return parsed.plus(told)

    def pages(
        self, connection: Connection, *, since: datetime, until: datetime, cursor: Cursor | None
    ) -> Iterator[Page]:
        api = _api(self.api_root, connection)
        at: Cursor | None = cursor or {"kind": "customers", "since": since.isoformat(), "page": 1}
        while at is not None:
            kind, page = at["kind"], at["page"]
            answer = api.get_list(f"/{kind}", per_page=PAGE_SIZE, page=page, **_query(kind, at, until))
            rows = fetching.rows(fetching.content(answer))
            at = _after(at, rows, since)
            entries = [(number, Fields(row, f"{kind}[{number}]")) for number, row in enumerate(rows)]
            yield Page(collect(kind, entries, READERS[kind]), at)

    def push(self, connection: Connection, writes: Sequence[Write], *, names: Names) -> Outcomes:
        return woocommerce_push.push(_api(self.api_root, connection), writes)

    def probe(self, connection: Connection, *, names: Names) -> None:
        woocommerce_push.probe(_api(self.api_root, connection))

    def read_back(
        self, connection: Connection, references: Sequence[str], *, names: Names
    ) -> Mapping[str, Values]:
        return woocommerce_push.read_back(_api(self.api_root, connection), references, names=names)


def _api(root: str, connection: Connection) -> fetching.Api:
    key, secret = fetching.credentials(connection, "consumer_key", "consumer_secret")
    site = root.format(site=str(connection.options.get("site", "")).rstrip("/"))
    return fetching.Api(f"{site}/wp-json/wc/v3", fetching.basic(key, secret), time.sleep)


def _resource_id(body: bytes) -> str:
    try:
        return Fields(load_object(body)).clipped("id", most=40)
    except BadField:
        return ""


def _query(kind: str, at: Cursor, until: datetime) -> dict[str, object]:
    if kind == "customers":  # the API cannot filter customers by change, so the newest are asked for
        return {"orderby": "registered_date", "order": "desc", "role": "all"}
    return {
        "orderby": "modified",
        "order": "asc",
        "dates_are_gmt": "true",
        "modified_after": _plain(datetime.fromisoformat(at["since"]) - timedelta(seconds=1)),
        "modified_before": _plain(until),
    }


def _plain(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")


def _after(at: Cursor, rows: Sequence[Mapping[str, Any]], since: datetime) -> Cursor | None:
    """Orders go on from the last change seen: page numbers alone would skip some when an order changes meanwhile."""
    last = Fields(rows[-1]) if rows else Fields({})
    if at["kind"] == "customers":
        oldest = last.moment("date_created_gmt", utc=True)
        if len(rows) == PAGE_SIZE and (oldest is None or oldest >= since):
            return {**at, "page": at["page"] + 1}
        return {"kind": "orders", "since": since.isoformat(), "page": 1}
    if len(rows) < PAGE_SIZE:
        return None
    changed = last.moment("date_modified_gmt", utc=True)
    if changed is None or changed.isoformat() == at["since"]:
        return {**at, "page": at["page"] + 1}
    return {"kind": "orders", "since": changed.isoformat(), "page": 1}
