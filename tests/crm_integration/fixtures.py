"""Connections and validly signed requests."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

from django.utils import timezone
from standardwebhooks import Webhook

from crm_integration import connections
from crm_integration.connections import Door
from crm_integration.models import Connection
from segmentation.models import Customer, Decision, InputSnapshot, PolicyVersion
from segmentation.news import News


def connection(slug="shop", *, inbound=True, url="", **fields):
    row = Connection.objects.create(
        slug=slug, name=slug.title(), outbound_url=url, **{"sends_outbound": bool(url), **fields}
    )
    if inbound:
        connections.set_secret(row, Door.INBOUND)
    if url:
        connections.set_secret(row, Door.OUTBOUND)
    return row


def signed_headers(secret, body, *, message_id="msg_1", at=None):
    """The three headers as the public library makes them: it is the oracle, not our own code."""
    at = at or timezone.now()
    moment = datetime.fromtimestamp(int(at.timestamp()), tz=UTC)
    text = body.decode("utf-8", "surrogateescape")
    if text.encode("utf-8", "replace") != body:
        signature = _sign_bytes(secret, message_id, int(at.timestamp()), body)
    else:
        signature = Webhook(secret).sign(message_id, moment, text)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }


def _sign_bytes(secret, message_id, timestamp, body):
    """The library signs text only; bytes that are no UTF-8 are signed by its formula."""
    import base64
    import hashlib
    import hmac

    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def deliver(client, row, body, *, headers=None, content_type="application/json", **options):
    """POST `body` to the connection's door, signed by its current secret unless `headers` are given."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    signed = headers if headers is not None else signed_headers(row.inbound_secret, raw, **options)
    return client.post(f"/hooks/{row.slug}/", data=raw, content_type=content_type, headers=signed)


def envelope(topic="order.placed", *, at=None, **data):
    return {"type": topic, "timestamp": (at or timezone.now()).isoformat(), "data": data}


def order(order_id="o-1", customer="c-1", amount="19.99", currency="GBP", **data):
    return envelope(
        "order.placed", order_id=order_id, customer=customer, amount=amount, currency=currency, **data
    )


def decision(reference="c-1", *, input_version=1, offer=None, campaign=None, priority=2, **customer):
    """A stored decision about a customer, as the decision maker leaves it."""
    person, _created = Customer.objects.update_or_create(reference=reference, defaults=customer)
    policy = PolicyVersion.objects.get_or_create(sha256="0" * 64, defaults={"content": {}})[0]
    snapshot = InputSnapshot.objects.get_or_create(
        customer=person, input_version=input_version, defaults={"as_of": date(2026, 11, 2), "content": b""}
    )[0]
    return Decision.objects.create(
        customer=person,
        input_version=input_version,
        policy=policy,
        snapshot=snapshot,
        as_of=date(2026, 11, 2),
        cause=Decision.Cause.EVENT,
        offer=offer,
        campaign=campaign,
        priority=priority,
        verdicts=b"",
    )


def decided(*decisions):
    return [News(row.customer_id, row.pk) for row in decisions]
