"""Svix: Standard Webhooks under svix-* header names (https://docs.svix.com/receiving/verifying-payloads/how-manual)."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext_lazy

from crm_integration import signatures
from crm_integration.adapters import standard_message
from crm_integration.adapters.base import Adapter, Delivery, Parsed
from crm_integration.schemes import Key, Scheme


class SvixAdapter(Adapter):
    slug = "svix"
    label = gettext_lazy("Svix")
    uses_shop_ids = True
    reads_envelopes = True
    signs_by_standard = True
    secret_is_theirs = True
    blurb = gettext_lazy("Any system that sends through Svix.")
    secret_hint = gettext_lazy(
        "On the endpoint's page in Svix, under “Signing Secret”: it starts with whsec_."
    )
    scheme = Scheme(
        "svix-signature",
        base="{id}.{timestamp}.{body}",
        wrapping="v1,{signature}",
        key=Key.BASE64,
        id_header="svix-id",
        timestamp_header="svix-timestamp",
    )
    example = standard_message.EXAMPLE
    steps = (
        gettext_lazy("In Svix, add an endpoint with the address of this page."),
        gettext_lazy("Copy the endpoint's signing secret (whsec_…) and enter it on this page."),
        gettext_lazy("Messages are in the generic format of docs/webhooks.md."),
    )

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: int) -> None:
        parts = signatures.SignedParts(
            message_id=delivery.headers.get("svix-id", b""),
            timestamp=delivery.headers.get("svix-timestamp", b""),
            signatures=delivery.headers.get("svix-signature", b""),
        )
        signatures.verify(parts, delivery.body, secrets=secrets, now=now)

    def dedupe_key(self, delivery: Delivery) -> str:
        return delivery.headers["svix-id"].decode("ascii")

    def parse(self, body: bytes, *, message_key: str, topic: str = "") -> Parsed:
        return standard_message.parse(body, message_key=message_key)
