"""Shopify: HMAC of the body alone, headers unsigned (https://shopify.dev/docs/apps/build/webhooks/verify-deliveries)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import ClassVar

from django.utils.translation import gettext_lazy as _

from crm_integration import fetching, signatures
from crm_integration.adapters import shopify_push
from crm_integration.adapters import shopify_records as records
from crm_integration.adapters.base import (
    Adapter,
    Cursor,
    Delivery,
    Found,
    Page,
    Parsed,
    PrivacyKind,
    collect,
    digest,
    parse_object,
)
from crm_integration.adapters.examples import Example
from crm_integration.adapters.needs import Field, Need
from crm_integration.adapters.pushing import Names, Outcomes, PushKind, Values, Write
from crm_integration.adapters.reading import Fields
from crm_integration.http import Answer
from crm_integration.models import Connection
from crm_integration.schemes import Scheme

API_VERSION = "2026-07"
PAGE_SIZE = 250
# Shopify's bucket leaks two calls a second; above this part of it we let it leak.
BUSY = 0.8

TOPICS: dict[str, Callable[[Fields], Found]] = {
    "orders/create": records.order,
    "orders/updated": records.order,
    "orders/paid": records.order,
    "orders/cancelled": records.order,
    "refunds/create": records.refund_notice,
    "customers/create": records.customer_record,
    "customers/update": records.customer_record,
    "customers/delete": records.deleted_customer,
    "customers/merge": records.merge,
    "customers/data_request": partial(records.privacy, PrivacyKind.EXPORT),
    "customers/redact": partial(records.privacy, PrivacyKind.ERASE),
    "shop/redact": partial(records.privacy, PrivacyKind.ERASE_SHOP),
}
READERS = {"customers": records.customer_record, "orders": records.order}


class ShopifyAdapter(Adapter):
    slug = "shopify"
    label = "Shopify"
    secret_is_theirs = True
    signs_topic = False
    can_reconcile = True
    pushing = PushKind(batch=50, prefix="", has_tags=True, has_namespace=True)
    can_read_back = True
    api_root: ClassVar[str] = "https://{shop_domain}"
    topics = tuple(TOPICS)
    blurb = _("Orders, refunds, customers and the three privacy topics of a Shopify shop.")
    secret_hint = _("In the app's settings under API credentials: the client secret.")
    scheme = Scheme("x-shopify-hmac-sha256", aliases=("shopify-hmac-sha256",))
    example = Example(
        {"id": "{person}", "first_name": "Test", "created_at": "{now}", "updated_at": "{now}"},
        {
            "x-shopify-topic": "customers/create",
            "x-shopify-webhook-id": "{key}",
            "x-shopify-shop-domain": "test.myshopify.com",
        },
    )
    needs = (
        Need(
            "shop_domain",
            _("Shop domain"),
            _("The one that ends in .myshopify.com, also when the shop has a domain of its own."),
            Field.HOST,
            required=True,
            pattern=r"[a-z0-9][a-z0-9-]*\.myshopify\.com",
        ),
        Need(
            "access_token",
            _("Admin API access token"),
            _(
                "Starts with shpat_. It needs read_orders and read_customers (and read_all_orders for old orders); "
                "read_customer_merge to follow merges, write_customers to write to customers."
            ),
            Field.SECRET,
        ),
    )
    steps = (
        _("Create an app for the shop; its client secret is the signing secret: enter it on this page."),
        _("Let the app subscribe to the topics below with the address of this page, in JSON."),
        _("Do not use the notifications of the store settings: they are signed with another secret."),
        _("The three privacy topics are set in the app's settings; use the same address."),
    )

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: int) -> None:
        signatures.verify_mac([_header(delivery, "hmac-sha256")], delivery.body, secrets=secrets)

    def dedupe_key(self, delivery: Delivery) -> str:
        told = [_header(delivery, name) for name in ("shop-domain", "topic", "webhook-id")]
        return digest(*told, delivery.body)

    def topic(self, delivery: Delivery) -> str:
        return _header(delivery, "topic").decode("latin-1")

    def parse(self, body: bytes, *, message_key: str, topic: str = "") -> Parsed:
        return parse_object(body, topic, TOPICS)

    def hydrate(self, parsed: Parsed, connection: Connection) -> Parsed:
        if not parsed.thin:
            return parsed
        found = []
        for thin in parsed.thin:
            answer = self._api(connection).get(f"/orders/{thin.key}.json") if thin.key.isdecimal() else None
            if answer is not None:
                content = fetching.content(answer)
                found.append(
                    (thin.item, Fields(fetching.rows({"orders": [content.get("order")]}, "orders")[0]))
                )
        return parsed.plus(collect(parsed.topic, found, records.order))

    def pages(
        self, connection: Connection, *, since: datetime, until: datetime, cursor: Cursor | None
    ) -> Iterator[Page]:
        api = self._api(connection)
        at: Cursor | None = cursor or {"kind": "customers", "page_info": ""}
        while at is not None:
            kind = at["kind"]
            answer = api.get_list(f"/{kind}.json", **_query(kind, at["page_info"], since, until))
            rows = fetching.rows(fetching.content(answer), kind)
            at = _after(kind, answer)
            entries = [(number, Fields(row, f"{kind}[{number}]")) for number, row in enumerate(rows)]
            yield Page(collect(kind, entries, READERS[kind]), at)
            if _is_busy(answer):
                api.sleep(1)

    def push(self, connection: Connection, writes: Sequence[Write], *, names: Names) -> Outcomes:
        return shopify_push.push(self._api(connection), writes, names=names)

    def probe(self, connection: Connection, *, names: Names) -> None:
        shopify_push.probe(self._api(connection))

    def read_back(
        self, connection: Connection, references: Sequence[str], *, names: Names
    ) -> Mapping[str, Values]:
        return shopify_push.read_back(self._api(connection), references, names=names)

    def _api(self, connection: Connection) -> fetching.Api:
        [token] = fetching.credentials(connection, "access_token")
        root = self.api_root.format(shop_domain=connection.options.get("shop_domain", ""))
        headers = {"X-Shopify-Access-Token": token}
        return fetching.Api(f"{root}/admin/api/{API_VERSION}", headers, time.sleep)


def _header(delivery: Delivery, name: str) -> bytes:
    """Newer deliveries bear both forms of each name; the shorter one is theirs."""
    return delivery.headers.get(f"shopify-{name}") or delivery.headers.get(f"x-shopify-{name}", b"")


def _query(kind: str, page_info: str, since: datetime, until: datetime) -> dict[str, object]:
    if page_info:  # it holds the filters of the first page
        return {"limit": PAGE_SIZE, "page_info": page_info}
    status = {"status": "any"} if kind == "orders" else {}
    changed = {"updated_at_min": since.isoformat(), "updated_at_max": until.isoformat()}
    return {"limit": PAGE_SIZE, **status, **changed}


def _after(kind: str, answer: Answer) -> Cursor | None:
    """Only the page's name is taken from the link: our token goes nowhere but to the shop's own domain."""
    found = re.search(r'[?&]page_info=([^&>]+)[^>]*>;\s*rel="next"', answer.headers.get("link", ""))
    if found:
        return {"kind": kind, "page_info": found[1]}
    return {"kind": "orders", "page_info": ""} if kind == "customers" else None


def _is_busy(answer: Answer) -> bool:
    used = re.fullmatch(r"([0-9]+)/([0-9]+)", answer.headers.get("x-shopify-shop-api-call-limit", ""))
    return used is not None and int(used[1]) >= BUSY * int(used[2])
