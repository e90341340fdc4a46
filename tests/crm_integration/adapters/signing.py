"""How each vendor signs: by the vendor's own library where there is one, else by the formula it documents.

The libraries sign text; bytes that are no text are signed by the formula that the library follows.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path

from django.utils import timezone

PAYLOADS = Path(__file__).parents[2] / "payloads"


def payload(name):
    """The bytes of tests/payloads/<name>.json."""
    return (PAYLOADS / f"{name}.json").read_bytes()


def content(name):
    return json.loads(payload(name))


def digest(secret, body, *, algorithm="sha256"):
    return hmac.new(secret.encode(), body, getattr(hashlib, algorithm))


def base64_of(mac):
    return base64.b64encode(mac.digest()).decode()


def seconds(at):
    return int((at or timezone.now()).timestamp())


def shopify(secret, body, *, topic="orders/paid", webhook_id="wh-1", shop="shop.myshopify.com"):
    return {
        "x-shopify-topic": topic,
        "x-shopify-hmac-sha256": base64_of(digest(secret, body)),
        "x-shopify-shop-domain": shop,
        "x-shopify-webhook-id": webhook_id,
        "x-shopify-api-version": "2026-07",
    }


def woocommerce(secret, body, *, topic="order.updated", delivery_id="d-1"):
    return {
        "x-wc-webhook-source": "https://shop.example.com/",
        "x-wc-webhook-topic": topic,
        "x-wc-webhook-resource": topic.partition(".")[0],
        "x-wc-webhook-event": topic.partition(".")[2],
        "x-wc-webhook-signature": base64_of(digest(secret, body)),
        "x-wc-webhook-id": "3",
        "x-wc-webhook-delivery-id": delivery_id,
    }


def hubspot(secret, body, *, url, at=None):
    from hubspot.utils.signature import Signature

    stamp = str(seconds(at) * 1000)
    try:
        signed = Signature.get_signature(
            secret, body.decode(), "v3", http_uri=url, http_method="POST", timestamp=stamp
        )
    except UnicodeDecodeError:
        signed = base64_of(digest(secret, b"POST" + url.encode() + body + stamp.encode()))
    first = Signature.get_signature(secret, body.decode("latin-1"), "v1")
    return {
        "x-hubspot-signature-v3": signed,
        "x-hubspot-request-timestamp": stamp,
        "x-hubspot-signature": first,
    }


def stripe(secret, body, *, at=None):
    from stripe import WebhookSignature

    stamp = seconds(at)
    try:
        header = WebhookSignature.generate_signature_header(body.decode(), secret, timestamp=stamp)
    except UnicodeDecodeError:
        header = f"t={stamp},v1={digest(secret, f'{stamp}.'.encode() + body).hexdigest()}"
    return {"stripe-signature": header}


def mautic(secret, body):
    return {
        "webhook-signature": base64_of(digest(secret, body)),
        "x-origin-base-url": "https://mautic.example.com",
    }


def segment(secret, body):
    return {"x-segment-signature": digest(secret, body, algorithm="sha1").hexdigest()}


def svix(secret, body, *, at=None, message_id="msg_1"):
    from svix.webhooks import Webhook

    moment = datetime.fromtimestamp(seconds(at), tz=UTC)
    try:
        signed = Webhook(secret).sign(message_id, moment, body.decode())
    except UnicodeDecodeError:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        text = f"{message_id}.{seconds(at)}.".encode() + body
        signed = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return {"svix-id": message_id, "svix-timestamp": str(seconds(at)), "svix-signature": signed}


def espocrm(secret, body, *, webhook="6501"):
    told = f"{webhook}:{digest(secret, body).hexdigest()}"
    return {"signature": base64.b64encode(told.encode()).decode()}
