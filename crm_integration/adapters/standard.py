"""The generic webhook: Standard Webhooks in and out, with the event format of docs/webhooks.md."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext_lazy

from crm_integration import signatures
from crm_integration.adapters import standard_message
from crm_integration.adapters.base import Adapter, Delivery, Parsed
from crm_integration.adapters.standard_message import EXAMPLE, MAX_BATCH
from crm_integration.schemes import Key, Scheme

__all__ = ["MAX_BATCH", "StandardAdapter"]


class StandardAdapter(Adapter):
    slug = "standard"
    label = gettext_lazy("Standard Webhooks (generic)")
    uses_shop_ids = True
    reads_envelopes = True
    signs_by_standard = True
    blurb = gettext_lazy("Your own shop or any system that can sign: libraries in most languages do it.")
    scheme = Scheme(
        "webhook-signature",
        base="{id}.{timestamp}.{body}",
        wrapping="v1,{signature}",
        key=Key.BASE64,
        id_header="webhook-id",
        timestamp_header="webhook-timestamp",
    )
    example = EXAMPLE
    steps = (
        gettext_lazy(
            "Give the address and the signing secret to whoever sends; docs/webhooks.md has examples."
        ),
        gettext_lazy("Send a message of the type “ping” to try it; it is listed here and changes nothing."),
    )

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: int) -> None:
        parts = signatures.SignedParts(
            message_id=delivery.headers.get("webhook-id", b""),
            timestamp=delivery.headers.get("webhook-timestamp", b""),
            signatures=delivery.headers.get("webhook-signature", b""),
        )
        signatures.verify(parts, delivery.body, secrets=secrets, now=now)

    def dedupe_key(self, delivery: Delivery) -> str:
        return delivery.headers["webhook-id"].decode("ascii")

    def parse(self, body: bytes, *, message_key: str, topic: str = "") -> Parsed:
        return standard_message.parse(body, message_key=message_key)
