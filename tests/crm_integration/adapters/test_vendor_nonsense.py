"""Signed nonsense of a vendor's shape: whatever stands in a field, reading ends in facts, rejections or a quarantine."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_integration.adapters import registry
from crm_integration.adapters.base import Delivery, Parsed, Unreadable
from tests.crm_integration.adapters.signing import PAYLOADS

KINDS = ("shopify", "woocommerce", "hubspot", "stripe", "mautic", "segment", "espocrm")
CASES = [
    (kind, path.stem)
    for kind in KINDS
    for path in sorted((PAYLOADS / kind).glob("*.json"))
    if not path.stem.startswith("api_")
]
NONSENSE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(
        ["", "-1", "1e9", "2026-13-01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "x" * 5000]
    ),
    st.lists(st.none() | st.integers() | st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


def spots(content, path=()):
    """Where every value of a JSON document stands."""
    yield path
    pairs = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for name, value in pairs:
        yield from spots(value, (*path, name))


def replaced(content, path, value):
    if not path:
        return value
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[path[0]] = replaced(content[path[0]], path[1:], value)
    return copy


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
@pytest.mark.parametrize(("kind", "name"), CASES, ids=["/".join(case) for case in CASES])
def test_nonsense_in_any_field_is_no_accident(kind, name, data):
    content = json.loads((PAYLOADS / kind / f"{name}.json").read_bytes())
    for _change in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(spots(content))))
        content = replaced(content, path, data.draw(NONSENSE))
    body = json.dumps(content).encode("utf-8", "surrogatepass")
    adapter = registry.get(kind)
    assert 0 < len(adapter.dedupe_key(Delivery(body, {}))) <= 200
    for topic in adapter.topics if kind in {"shopify", "woocommerce"} else ("",):
        try:
            assert isinstance(adapter.parse(body, message_key="key", topic=topic), Parsed)
        except Unreadable:
            continue


def changed(name, path, value):
    content = json.loads((PAYLOADS / f"{name}.json").read_bytes())
    kind = name.partition("/")[0]
    return registry.get(kind).parse(json.dumps(replaced(content, path, value)).encode(), message_key="key")


@pytest.mark.parametrize("moment", [7_258_118_401, 10**14, -1, "soon"])
def test_a_time_that_cannot_be_true_is_a_rejection(moment):
    assert len(changed("stripe/charge_succeeded", ("created",), moment).rejections) == 1


@pytest.mark.parametrize("reason", [[1], {"a": 1}, "1", None])
def test_a_reason_that_is_no_number_refuses_nothing(reason):
    path = ("mautic.lead_post_save_update", 0, "contact", "doNotContact")
    parsed = changed("mautic/contact_updated", path, [{"channel": "email", "reason": reason}])
    assert parsed.customers[0].consents == ()
