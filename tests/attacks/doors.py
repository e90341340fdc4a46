"""A connection of every kind, how its vendor signs, and the product's own WSGI door in this process."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.crm_integration import fixtures
from tests.crm_integration.adapters import signing

ORDER = json.dumps(fixtures.order()).encode()
CAREFUL = {
    "header": "X-Signature", "algorithm": "sha512", "encoding": "base64", "prefix": "v0=",
    "base": "{id}.{timestamp}:{body}", "timestamp_header": "X-Time", "id_header": "X-Id", "tolerance": 300,
}  # fmt: skip


def _careful(secret, body, *, at=None, message_id="m-1", url=""):
    stamp = signing.seconds(at)
    mac = signing.digest(secret, f"{message_id}.{stamp}:".encode() + body, algorithm="sha512")
    return {"x-signature": "v0=" + signing.base64_of(mac), "x-time": str(stamp), "x-id": message_id}


@dataclass(frozen=True)
class Kind:
    """sign(secret, body, *, at, message_id, url) → headers, by the vendor's own library where there is one.

    signature: the header whose every character counts; empty where part of it is not signed.
    times: headers that are signed along, none where the vendor signs no time. by_id: a message is known by its id.
    """

    slug: str
    sign: Callable[..., dict[str, str]]
    body: bytes
    signature: str = ""
    times: tuple[str, ...] = ()
    by_id: bool = False
    options: dict[str, Any] = field(default_factory=dict)


KINDS = (
    Kind(
        "standard",
        lambda s, b, *, at, message_id, url: fixtures.signed_headers(s, b, at=at, message_id=message_id),
        ORDER, "webhook-signature", ("webhook-timestamp", "webhook-id"), by_id=True,
    ),
    Kind(
        "svix",
        lambda s, b, *, at, message_id, url: signing.svix(s, b, at=at, message_id=message_id),
        ORDER, "svix-signature", ("svix-timestamp", "svix-id"), by_id=True,
    ),
    Kind("stripe", lambda s, b, *, at, message_id, url: signing.stripe(s, b, at=at),
         signing.payload("stripe/charge_succeeded"), "stripe-signature", ("stripe-signature",)),
    Kind("hubspot", lambda s, b, *, at, message_id, url: signing.hubspot(s, b, url=url, at=at),
         signing.payload("hubspot/contacts_changed"), "x-hubspot-signature-v3", ("x-hubspot-request-timestamp",)),
    Kind("shopify", lambda s, b, *, at, message_id, url: signing.shopify(s, b, webhook_id=message_id),
         signing.payload("shopify/orders_paid"), "x-shopify-hmac-sha256"),
    Kind("woocommerce", lambda s, b, *, at, message_id, url: signing.woocommerce(s, b, delivery_id=message_id),
         signing.payload("woocommerce/order_processing"), "x-wc-webhook-signature"),
    Kind("mautic", lambda s, b, *, at, message_id, url: signing.mautic(s, b),
         signing.payload("mautic/contact_updated"), "webhook-signature"),
    Kind("segment", lambda s, b, *, at, message_id, url: signing.segment(s, b),
         signing.payload("segment/order_completed"), "x-segment-signature"),
    Kind("espocrm", lambda s, b, *, at, message_id, url: signing.espocrm(s, b),
         signing.payload("espocrm/contacts")),
    Kind("hmac", _careful, ORDER, "x-signature", ("x-time", "x-id"), by_id=True, options=CAREFUL),
)  # fmt: skip


@dataclass
class Target:
    """A connection of a kind. `stranger`: the secret of another one. `expired`: its own of before the last rotation."""

    kind: Kind
    connection: Any
    secret: str
    stranger: str
    expired: str

    @classmethod
    def of(cls, kind: Kind, *, attack: str) -> Target:
        from crm_integration import connections
        from crm_integration.connections import Door

        other = fixtures.connection(f"{attack}-other-{kind.slug}", adapter=kind.slug, options=kind.options)
        row = fixtures.connection(f"{attack}-{kind.slug}", adapter=kind.slug, options=kind.options)
        expired = row.inbound_secret
        target = cls(kind, row, expired, other.inbound_secret, expired)
        # The door knows the connection by the secret that it had.
        status, _content = post(row.slug, kind.body, target.sign(kind.body, message_id="before"))
        assert status == 202, kind.slug
        connections.set_secret(row, Door.INBOUND)
        connections.end_grace(row, Door.INBOUND)
        return replace(target, secret=row.inbound_secret)

    def sign(
        self, body: bytes, *, secret: str | None = None, at=None, message_id: str = "m-1"
    ) -> dict[str, str]:
        from crm_integration import connections

        url = connections.hook_url(self.connection)
        chosen = self.secret if secret is None else secret
        return self.kind.sign(chosen, body, at=at, message_id=message_id, url=url)


def post(slug: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Status and content, from the application as a WSGI server calls it; header values are Latin-1 text."""
    from config.wsgi import doors as application

    said: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST", "PATH_INFO": f"/hooks/{slug}/", "QUERY_STRING": "", "SCRIPT_NAME": "",
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "application/json",
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
    }  # fmt: skip
    content = b"".join(application(environ, lambda status, _headers, *error: said.append(status)))
    return int(said[0].split()[0]), json.loads(content)
