"""Signatures that were computed elsewhere open the doors, and only those."""

from __future__ import annotations

import pytest

from crm_integration.adapters import registry
from crm_integration.adapters.base import Delivery
from crm_integration.signatures import BadSignature

BODY = b'{"id":1,"email":"a@example.com"}'
PLAIN = b"sMGAzLdiqguPdSLfXydQDHM/J2AzpProXsuII/GKqsE="
VECTORS = [
    ("shopify", {"x-shopify-hmac-sha256": PLAIN}, 0),
    ("woocommerce", {"x-wc-webhook-signature": PLAIN}, 0),
    ("mautic", {"webhook-signature": PLAIN}, 0),
    (
        "hubspot",
        {
            "x-hubspot-signature-v3": b"O5/Nz0MSZK9OcVnsIAmrblQHbLB6KpVV8+2sLGROxas=",
            "x-hubspot-request-timestamp": b"1700000000000",
        },
        1700000000,
    ),
    (
        "stripe",
        {
            "stripe-signature": b"t=1700000000,v1="
            b"e1cd92886f25bad64b96356dfd0f18e6040f2a6d0064271c76bbf9631952cddb"
        },
        1700000000,
    ),
    ("segment", {"x-signature": b"b8bf431707e7b6f8e509e724c0eefff495d27cd1"}, 0),
]


@pytest.mark.parametrize(("kind", "headers", "now"), VECTORS, ids=[vector[0] for vector in VECTORS])
def test_a_published_or_computed_signature_is_accepted(kind, headers, now):
    adapter = registry.get(kind)
    delivery = Delivery(BODY, headers, "https://example.com/hooks/hubspot")
    adapter.verify(delivery, secrets=["another-secret", "secret"], now=now)
    for secrets, body in ((["secret2"], BODY), (["secret"], BODY + b" "), ([], BODY)):
        with pytest.raises(BadSignature):
            adapter.verify(Delivery(body, headers, delivery.url), secrets=secrets, now=now)


@pytest.mark.parametrize("kind", ["standard", "svix"])
def test_the_published_vector_of_standard_webhooks(kind):
    prefix = "webhook" if kind == "standard" else "svix"
    headers = {
        f"{prefix}-id": b"msg_p5jXN8AQM9LWM0D4loKWxJek",
        f"{prefix}-timestamp": b"1614265330",
        f"{prefix}-signature": b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    delivery = Delivery(b'{"test": 2432232314}', headers)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    registry.get(kind).verify(delivery, secrets=[secret], now=1614265330)
    with pytest.raises(BadSignature):
        registry.get(kind).verify(delivery, secrets=[secret], now=1614265330 + 301)


def test_the_v1_of_hubspot_is_known_and_not_accepted():
    """HubSpot's own sample of the first version, which proves nothing about who sent it."""
    headers = {
        "x-hubspot-signature": b"x" * 64,
        "x-hubspot-signature-version": b"v1",
        "x-hubspot-request-timestamp": b"1700000000000",
    }
    with pytest.raises(BadSignature):
        registry.get("hubspot").verify(Delivery(BODY, headers), secrets=["secret"], now=1700000000)
