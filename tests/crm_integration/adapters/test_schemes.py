"""What a kind says of itself as data is true: its own test event opens its door, and is understood."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from crm_integration import schemes
from crm_integration.adapters import registry
from crm_integration.adapters.base import Delivery
from crm_integration.adapters.examples import PERSON
from crm_integration.adapters.needs import Field
from crm_integration.signatures import BadSignature

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
URL = "https://tierwise.example.com/hooks/shop/"
HMAC = {
    "header": "X-Sig", "algorithm": "sha512", "encoding": "hex", "prefix": "v=", "base": "{timestamp}:{id}:{body}",
    "timestamp_header": "X-Time", "id_header": "X-Id",
}  # fmt: skip


def example(kind):
    """The kind's own test event, signed by its declared scheme: (adapter, delivery, secret)."""
    adapter = registry.get(kind)
    secret, options = adapter.new_secret(), HMAC if kind == "hmac" else {}
    body, headers = adapter.example.write(key="k1", now=NOW)
    scheme = adapter.scheme_of(options)
    signed = schemes.sign(
        scheme, body=body, secret=secret, url=URL, message_id="k1", now=int(NOW.timestamp())
    )
    return adapter, Delivery(body, {**headers, **signed}, URL, options), secret


@pytest.mark.parametrize("kind", list(registry.ADAPTERS))
def test_a_test_event_is_genuine_to_the_kinds_own_verifier(kind):
    adapter, delivery, secret = example(kind)
    adapter.verify(delivery, secrets=[secret], now=int(NOW.timestamp()))
    for secrets, body in (([adapter.new_secret()], delivery.body), ([secret], delivery.body + b" ")):
        with pytest.raises(BadSignature):
            adapter.verify(
                Delivery(body, delivery.headers, URL, delivery.options),
                secrets=secrets,
                now=int(NOW.timestamp()),
            )


@pytest.mark.parametrize("kind", list(registry.ADAPTERS))
def test_a_test_event_is_understood_and_orders_nothing(kind):
    adapter, delivery, _secret = example(kind)
    parsed = adapter.parse(
        delivery.body, message_key=adapter.dedupe_key(delivery), topic=adapter.topic(delivery)
    )
    assert parsed.is_known
    assert not parsed.rejections
    told = {customer.reference for customer in parsed.customers} | {thin.key for thin in parsed.thin}
    assert told == {PERSON}
    assert all(event.amount is None for event in parsed.events)


@pytest.mark.parametrize("kind", list(registry.ADAPTERS))
def test_every_kind_describes_itself_for_the_wizard(kind):
    adapter = registry.get(kind)
    assert adapter.blurb
    assert adapter.steps
    assert bool(adapter.secret_hint) == adapter.secret_is_theirs
    assert all(need.label for need in adapter.needs)
    assert all(need.hint for need in adapter.needs if need.field is Field.ADDRESS)


def test_a_kind_that_staff_describe_has_no_scheme_before_they_did():
    assert registry.get("hmac").scheme_of({}) is None
