"""The scheme tester's page: what is pasted is explained, and nothing of it stays."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from crm_integration import connections, refusals
from crm_integration.adapters import registry
from crm_integration.admin import scheme_words
from crm_integration.connections import Door
from crm_integration.models import Connection, InboundMessage, RefusedDelivery
from crm_integration.scheme_tester import Cause, Finding
from crm_integration.scheme_tester.variants import MOST_TIMES, bodies, keys, times, urls
from crm_integration.signatures import Reason
from segmentation.models import AuditEntry
from tests.crm_integration import fixtures
from tests.crm_integration.adapters import signing
from tests.crm_integration.test_setup_pages import grant, html, page, person  # noqa: F401

pytestmark = pytest.mark.django_db
BODY = '{"id": 7,\n "email": "ada@example.com"}'
TEXT = "a-text-secret-of-some-length"


@pytest.fixture
def shopify(db):
    row = fixtures.connection("web-shop", adapter="shopify", inbound=False)
    connections.set_secret(row, Door.INBOUND, secret=TEXT)
    return row


def ask(client, row, sent, body=BODY, **fields):
    text = "\n".join(f"{name}: {value}" for name, value in sent.items())
    url = connections.hook_url(row)
    # As a browser sends a text area: with Windows newlines.
    form = {"headers": text, "body": body.replace("\n", "\r\n"), "url": url, **fields}
    return html(client.post(page("connection_tester", row.pk), form))


def test_a_pasted_message_that_fits_is_said_to_fit(admin_client, shopify):
    text = ask(admin_client, shopify, signing.shopify(TEXT, BODY.encode()))
    assert "The signature fits" in text


def test_what_is_wrong_is_said_and_nothing_is_kept(admin_client, shopify):
    other = fixtures.connection("old", adapter="mautic", inbound=False)
    connections.set_secret(other, Door.INBOUND, secret="the-old-shops-secret")
    text = ask(admin_client, shopify, signing.shopify("the-old-shops-secret", BODY.encode()))
    assert "secret of the connection “Old”" in text
    for secret in (TEXT, "the-old-shops-secret"):
        assert secret not in text
    assert not InboundMessage.objects.exists()
    assert not RefusedDelivery.objects.exists()
    entry = AuditEntry.objects.get(action="connection.scheme_tested")
    assert entry.detail == {"found": ["secret_of_other"]}


def test_a_secret_typed_in_is_tried_and_not_shown_again(admin_client, shopify):
    text = ask(
        admin_client, shopify, signing.shopify("typed-in-secret", BODY.encode()), secret="typed-in-secret"
    )
    assert "the secret that you typed" in text
    assert "typed-in-secret" not in text


def test_each_of_several_secrets_fits_and_is_named_once_its_day_is_over(admin_client):
    row = fixtures.connection("crm", adapter="espocrm", inbound=False)
    connections.set_secret(row, Door.INBOUND, secret="contact-secret opportunity-secret")
    made = signing.espocrm("opportunity-secret", BODY.encode())
    assert "The signature fits" in ask(admin_client, row, made)
    connections.set_secret(row, Door.INBOUND, secret="contact-secret another-secret")
    type(row).objects.update(previous_secret_until="2020-01-01T00:00:00Z")
    assert "day of grace is over" in ask(admin_client, row, made)


def test_a_file_counts_byte_by_byte(admin_client, shopify):
    body = BODY.replace("\n", "\r\n").encode() + b"\r\n"
    made = signing.shopify(TEXT, body)
    given = SimpleUploadedFile("body.json", body)
    assert "The signature fits" in ask(admin_client, shopify, made, body="", body_file=given)


def test_the_secret_before_is_named_once_its_day_is_over(admin_client, shopify):
    connections.set_secret(shopify, Door.INBOUND, secret="the-new-secret")
    made = signing.shopify(TEXT, BODY.encode())
    assert "The signature fits" in ask(admin_client, shopify, made)
    shopify.previous_secret_until = "2020-01-01T00:00:00Z"
    shopify.save()
    assert "day of grace is over" in ask(admin_client, shopify, made)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"headers": "no header here"}, "No header was found"),
        ({"headers": "x: " + "y" * 40_000}, "more headers than a request has"),
        ({"headers": ""}, "This field is required"),
        ({"arrived_at": "yesterday"}, "Enter a valid date/time"),
    ],
)
def test_what_cannot_be_read_is_said(admin_client, shopify, fields, says):
    assert says in ask(admin_client, shopify, {"x": "y"}, **fields)


def test_a_body_over_the_cap_is_refused(admin_client, shopify, settings):
    settings.INBOUND_MAX_BYTES = 10
    assert "larger than this installation takes" in ask(admin_client, shopify, {"x-a": "b"})


def test_a_refused_attempt_brings_the_names_of_its_headers(admin_client, shopify):
    refusals.count(shopify, Reason.WRONG_SIGNATURE, ["X-Shopify-Topic", "User-Agent"])
    row = RefusedDelivery.objects.get()
    listed = html(admin_client.get(page("connection_tester", shopify.pk)))
    assert f"?refused={row.pk}" in listed
    chosen = html(admin_client.get(page("connection_tester", shopify.pk), {"refused": row.pk}))
    assert "x-shopify-topic: \nx-shopify" not in chosen
    assert "user-agent: \nx-shopify-topic:" in chosen
    other = fixtures.connection("other")
    assert "user-agent:" not in html(
        admin_client.get(page("connection_tester", other.pk), {"refused": row.pk})
    )


def test_a_viewer_may_not_try_secrets(client, person, shopify):  # noqa: F811
    grant(person, "view_connection")
    assert client.get(page("connection_tester", shopify.pk)).status_code == 403
    assert client.post(page("connection_tester", shopify.pk), {}).status_code == 403


def test_the_page_needs_its_csrf_token(shopify, admin_user):
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.post(page("connection_tester", shopify.pk), {"headers": "x: y"}).status_code == 403


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_has_a_sentence(cause):
    told = {
        "header": "x", "kind": "x", "found": "x", "expected": "x", "name": "x", "base": "x", "how": "in seconds",
        "seconds": 301, "window": 300,
    }  # fmt: skip
    said = scheme_words.sentence(Finding(cause, told))
    assert said.endswith((".", "?"))
    assert "%(" not in said


def test_every_way_to_differ_has_words():
    scheme = registry.get("standard").scheme
    found = [
        *keys(scheme, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        *keys(registry.get("shopify").scheme, "00ff" * 8),
        *bodies('[{"a": "é/"}]\r\n'.encode()),
        *bodies(b"\xef\xbb\xbfx\n"),
        *urls("https://a.example:8443/hooks/x/?q=1", {"host": b"b.example"}),
    ]
    for variant in found:
        if variant.name:
            said = scheme_words.sentence(Finding(Cause.URL, {"how": variant.name}))
            assert variant.name in scheme_words.HOW or "b.example" in said


@pytest.mark.parametrize(
    ("seconds", "said"), [(59, "59 s"), (301, "5 min"), (7300, "2 h 1 min"), (864_000, "10 days")]
)
def test_spans_are_said_in_the_largest_unit(seconds, said):
    assert scheme_words.span(seconds) == said


def test_the_page_is_reached_from_the_connection(admin_client, shopify):
    link = reverse("admin:crm_integration_connection_tester", args=[shopify.pk])
    assert link in html(admin_client.get(page("connection_setup", shopify.pk)))


@pytest.mark.parametrize(
    ("sent", "url", "says"),
    [
        ({}, "http://[x", "usual mistakes"),
        ({"webhook-timestamp": "1" * 5000}, "https://x.example.com/", "not a whole number of seconds"),
        (
            {"x-time": " ".join(map(str, range(10**9, 10**9 + 2000)))},
            "https://x.example.com/",
            "usual mistakes",
        ),
    ],
)
def test_what_nobody_sends_is_answered_in_words(admin_client, sent, url, says):
    row = fixtures.connection("odd")
    made = fixtures.signed_headers("whsec_" + "A" * 40, BODY.encode())
    assert says in ask(admin_client, row, {**made, **sent}, url=url)


def test_headers_full_of_times_are_not_all_tried(shopify):
    many = {"x-time": b" ".join(b"%d" % number for number in range(10**9, 10**9 + 2000))}
    assert len(times(registry.get("standard").scheme, many)) <= MOST_TIMES


def test_a_kind_that_is_no_longer_known_is_said(admin_client, shopify):
    Connection.objects.filter(pk=shopify.pk).update(adapter="gone")
    answer = admin_client.get(page("connection_tester", shopify.pk))
    assert answer.status_code == 302
