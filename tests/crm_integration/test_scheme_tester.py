"""The scheme tester names what was done wrong. Signatures are made by the vendors' libraries, then by their mistakes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from crm_integration import scheme_tester
from crm_integration.adapters import registry
from crm_integration.adapters.base import Delivery
from crm_integration.scheme_tester import Cause, Owner, Secret
from tests.crm_integration.adapters import signing
from tests.crm_integration.adapters.test_vectors import BODY as VECTOR_BODY
from tests.crm_integration.adapters.test_vectors import VECTORS

NOW = 1_790_000_000
URL = "https://tierwise.example.com/hooks/shop/"
TEXT = "a-text-secret-of-some-length"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"id":"p-1","name":"Zoë","total":12.50,"url":"https://x/y"}'.encode()
KINDS = {
    str(adapter.label): adapter.scheme
    for adapter in registry.KNOWN
    if adapter.scheme and adapter.slug != "standard"
}
PLAIN = ("shopify", "woocommerce", "mautic", "segment", "espocrm")
TIMED = ("hubspot", "stripe", "svix", "standard")
ALL = PLAIN + TIMED
HMAC = {
    "header": "X-Sig", "algorithm": "sha256", "encoding": "hex", "base": "{timestamp}.{body}",
    "timestamp_header": "X-Time",
}  # fmt: skip


class Moment:
    """What the signing helpers take for a time."""

    def __init__(self, seconds):
        self.seconds = seconds

    def timestamp(self):
        return self.seconds


def secret_of(kind):
    return WHSEC if kind in {"svix", "standard"} else TEXT


def sign(kind, secret, body, *, at=NOW, url=URL):
    """Headers as the vendor's library makes them, in bytes."""
    moment = Moment(at)
    if kind == "hubspot":
        made = signing.hubspot(secret, body, url=url, at=moment)
    elif kind in {"svix", "standard"}:
        made = signing.svix(secret, body, at=moment)
        made = {
            name.replace("svix-", "webhook-") if kind == "standard" else name: one
            for name, one in made.items()
        }
    elif kind == "stripe":
        made = signing.stripe(secret, body, at=moment)
    else:
        made = getattr(signing, kind)(secret, body)
    return {name: value.encode() for name, value in made.items()}


def examine(kind, headers, body=BODY, *, secrets=None, now=NOW, url=URL, options=None):
    known = [Secret(Owner.CURRENT, secret_of(kind))] if secrets is None else secrets
    delivery = Delivery(body, headers, url, options or {})
    return scheme_tester.diagnose(registry.get(kind), delivery, secrets=known, now=now, kinds=KINDS)


def causes(diagnosis):
    return [finding.cause for finding in diagnosis.findings]


def told(diagnosis):
    (finding,) = diagnosis.findings
    return finding


@pytest.mark.parametrize("kind", ALL)
def test_a_right_signature_fits(kind):
    assert examine(kind, sign(kind, secret_of(kind), BODY)).fits


@pytest.mark.parametrize(("kind", "headers", "now"), VECTORS, ids=[vector[0] for vector in VECTORS])
def test_vectors_that_were_computed_elsewhere_fit(kind, headers, now):
    found = examine(
        kind, headers, VECTOR_BODY, secrets=[Secret(Owner.CURRENT, "secret")], now=now,
        url="https://example.com/hooks/hubspot",
    )  # fmt: skip
    assert found.fits


# --- secret
@pytest.mark.parametrize("kind", ALL)
def test_a_secret_nobody_here_knows_is_not_explained_away(kind):
    other = WHSEC.replace("Mf", "Nf") if kind in {"svix", "standard"} else "somebody-elses-secret"
    found = examine(kind, sign(kind, other, BODY))
    assert causes(found) == [Cause.UNKNOWN]
    assert found.tried > 100
    assert not found.gave_up


@pytest.mark.parametrize("kind", ALL)
def test_the_secret_of_another_connection_is_named(kind):
    other = WHSEC.replace("Mf", "Nf") if kind in {"svix", "standard"} else "somebody-elses-secret"
    known = [Secret(Owner.CURRENT, secret_of(kind)), Secret(Owner.OTHER, other, "Old shop")]
    found = told(examine(kind, sign(kind, other, BODY), secrets=known))
    assert (found.cause, found.told) == (Cause.SECRET_OF_OTHER, {"name": "Old shop"})


@pytest.mark.parametrize("kind", [*PLAIN, "hubspot", "stripe"])
@pytest.mark.parametrize(
    ("wrong", "how"),
    [
        (TEXT + "\n", "with a newline at its end"),
        (TEXT + "\r\n", "with a Windows newline at its end"),
        (TEXT + " ", "with a space at its end"),
        (" " + TEXT, "with a space before it"),
        (f'"{TEXT}"', "in quotes"),
    ],
)
def test_a_secret_with_something_around_it_is_found(kind, wrong, how):
    found = told(examine(kind, sign(kind, wrong, BODY)))
    assert (found.cause, found.told) == (Cause.SECRET_MISREAD, {"how": how})


def standard(key, body=BODY, *, stamp=str(NOW), key_id="msg_1", prefix="v1,", algorithm="sha256"):
    content = f"{key_id}.{stamp}.".encode() + body
    made = base64.b64encode(hmac.new(key, content, algorithm).digest())
    return {
        "webhook-id": key_id.encode(),
        "webhook-timestamp": stamp.encode(),
        "webhook-signature": prefix.encode() + made,
    }


@pytest.mark.parametrize(
    ("key", "how"),
    [
        (WHSEC.encode(), "as text, with whsec_"),
        (WHSEC.removeprefix("whsec_").encode(), "as text, without whsec_"),
        (WHSEC.encode() + b"\n", "with a newline at its end"),
    ],
)
def test_a_secret_of_standard_webhooks_that_was_not_decoded_is_found(key, how):
    found = told(examine("standard", standard(key)))
    assert (found.cause, found.told) == (Cause.SECRET_MISREAD, {"how": how})


def test_a_text_secret_that_was_decoded_is_found():
    secret = base64.b64encode(b"sixteen byte key").decode()
    made = hmac.new(b"sixteen byte key", BODY, "sha256").digest()
    headers = {"x-wc-webhook-signature": base64.b64encode(made)}
    found = told(examine("woocommerce", headers, secrets=[Secret(Owner.CURRENT, secret)]))
    assert found.told == {"how": "as the bytes that its base64 writes"}


@pytest.mark.parametrize(
    ("owner", "cause"), [(Owner.EXPIRED, Cause.SECRET_EXPIRED), (Owner.TYPED, Cause.SECRET_TYPED)]
)
def test_whose_secret_it_was_is_said(owner, cause):
    known = [Secret(Owner.CURRENT, "the-new-secret"), Secret(owner, TEXT)]
    assert causes(examine("shopify", sign("shopify", TEXT, BODY), secrets=known)) == [cause]


def test_the_previous_secret_still_fits():
    known = [Secret(Owner.CURRENT, "the-new-secret"), Secret(Owner.PREVIOUS, TEXT)]
    assert examine("shopify", sign("shopify", TEXT, BODY), secrets=known).fits


def test_without_any_secret_that_is_what_is_said():
    found = examine("mautic", sign("mautic", TEXT, BODY), secrets=[])
    assert causes(found) == [Cause.NO_SECRET]


# --- body
CHANGED = [
    (BODY + b"\n", "without the white space at its end"),
    (BODY + b"\r\n", "without the white space at its end"),
    (b"\xef\xbb\xbf" + BODY, "without its byte order mark"),
]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(("here", "how"), CHANGED)
def test_white_space_around_the_body_is_found(kind, here, how):
    found = told(examine(kind, sign(kind, secret_of(kind), BODY), here))
    assert (found.cause, found.told) == (Cause.BODY_CHANGED, {"how": how})


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("signed", "how"),
    [
        (json.dumps(json.loads(BODY), separators=(",", ":"), ensure_ascii=False).encode(), "without spaces"),
        (json.dumps(json.loads(BODY)).encode(), "with spaces after , and :, letters escaped"),
        (json.dumps(json.loads(BODY), indent=2, ensure_ascii=False).encode(), "indented by two"),
        (
            json.dumps(json.loads(BODY), separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode(),
            "without spaces",
        ),
    ],
)
def test_json_that_was_written_again_is_found(kind, signed, how):
    """What was signed had been 12.5 and not 12.50, or other spaces and escapes."""
    found = told(examine(kind, sign(kind, secret_of(kind), signed)))
    assert found.cause is Cause.BODY_CHANGED
    assert found.told == {"how": f"written again {how}"}


def test_json_as_php_writes_it_is_found():
    signed = json.dumps(json.loads(BODY), separators=(",", ":")).replace("/", "\\/").encode()
    found = told(examine("woocommerce", sign("woocommerce", TEXT, signed)))
    assert found.told == {"how": "written again as PHP does, with \\/"}


def test_another_charset_is_found():
    found = told(examine("shopify", sign("shopify", TEXT, BODY.decode().encode("latin-1"))))
    assert (found.cause, found.told) == (Cause.BODY_CHANGED, {"how": "in Latin-1 instead of UTF-8"})


def test_segments_older_header_covers_the_first_event_alone():
    events = [{"type": "track", "messageId": "1"}, {"type": "track", "messageId": "2"}]
    first = json.dumps(events[0], separators=(",", ":")).encode()
    headers = {"x-signature": signing.segment(TEXT, first)["x-segment-signature"].encode()}
    found = told(examine("segment", headers, json.dumps(events).encode()))
    assert (found.cause, found.told) == (Cause.BODY_CHANGED, {"how": "of its first event alone"})


# --- encoding, algorithm, header, writing
@pytest.mark.parametrize(("kind", "encoding"), [("shopify", "hex"), ("mautic", "hex"), ("segment", "base64")])
def test_hex_and_base64_mixed_up_are_found(kind, encoding):
    algorithm = registry.get(kind).scheme.algorithm
    made = hmac.new(TEXT.encode(), BODY, algorithm)
    value = made.hexdigest().encode() if encoding == "hex" else base64.b64encode(made.digest())
    found = told(examine(kind, {registry.get(kind).scheme.header: value}))
    assert (found.cause, found.told["found"]) == (Cause.ENCODING, encoding)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (lambda mac: mac.hexdigest().upper(), "hex in capitals"),
        (lambda mac: base64.b64encode(mac.hexdigest().encode()).decode(), "base64 of hex"),
        (lambda mac: base64.b64encode(mac.digest()).decode().rstrip("="), "base64 without padding"),
    ],
)
def test_other_ways_to_write_a_signature_are_found(value, written):
    found = told(
        examine("shopify", {"x-shopify-hmac-sha256": value(hmac.new(TEXT.encode(), BODY, "sha256")).encode()})
    )
    assert (found.cause, found.told["found"]) == (Cause.ENCODING, written)


@pytest.mark.parametrize("kind", PLAIN[:3])
@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha384", "sha512"])
def test_another_algorithm_is_found(kind, algorithm):
    made = base64.b64encode(hmac.new(TEXT.encode(), BODY, algorithm).digest())
    found = told(examine(kind, {registry.get(kind).scheme.header: made}))
    assert (found.cause, found.told["found"]) == (Cause.ALGORITHM, algorithm)


@pytest.mark.parametrize("kind", PLAIN[:3])
def test_a_signature_in_another_header_is_found(kind):
    made = sign(kind, TEXT, BODY)[registry.get(kind).scheme.header]
    found = told(examine(kind, {"x-hub-signature-256": made}))
    assert (found.cause, found.told["found"]) == (Cause.WRONG_HEADER, "x-hub-signature-256")


@pytest.mark.parametrize("kind", ALL)
def test_a_missing_header_is_named(kind):
    scheme = registry.get(kind).scheme
    found = examine(kind, {"content-type": b"application/json"})
    assert found.findings[0].cause is Cause.MISSING_HEADER
    assert found.findings[0].told == {"header": scheme.header}


def test_a_message_of_another_vendor_is_recognised():
    found = examine("woocommerce", sign("shopify", "another-secret-there", BODY))
    assert causes(found) == [Cause.MISSING_HEADER, Cause.LOOKS_LIKE]
    assert found.findings[1].told == {"kind": "Shopify"}


def test_text_that_is_no_signature_is_said():
    assert causes(examine("shopify", {"x-shopify-hmac-sha256": b"hello"})) == [Cause.NOT_A_SIGNATURE]


def test_a_signature_without_its_version_is_found():
    key = base64.b64decode(WHSEC.removeprefix("whsec_"))
    found = told(examine("standard", standard(key, prefix="")))
    assert (found.cause, found.told) == (Cause.WRAPPING, {"expected": "v1,{signature}"})


# --- base string
@pytest.mark.parametrize(
    "url",
    [
        ("http://tierwise.example.com/hooks/shop/", "with http://"),
        ("https://tierwise.example.com/hooks/shop", "without the slash at its end"),
        ("https://tierwise.example.com:8443/hooks/shop/", "with the host tierwise.example.com:8443"),
    ],
)
def test_another_address_under_hubspots_signature_is_found(url):
    address, how = url
    headers = sign("hubspot", TEXT, BODY, url=address)
    if "host" in how:
        headers["host"] = b"tierwise.example.com:8443"
    found = told(examine("hubspot", headers))
    assert (found.cause, found.told) == (Cause.URL, {"how": how})


def test_hubspots_first_version_is_recognised():
    headers = sign("hubspot", TEXT, BODY)
    first = hashlib.sha256(TEXT.encode() + BODY).hexdigest().encode()
    stamp = headers["x-hubspot-request-timestamp"]
    found = examine("hubspot", {"x-hubspot-signature": first, "x-hubspot-request-timestamp": stamp})
    assert Cause.PLAIN_HASH in causes(found)
    assert Cause.WRONG_HEADER in causes(found)


@pytest.mark.parametrize("kind", ["stripe", "standard", "svix"])
def test_a_signature_of_the_body_alone_is_found(kind):
    scheme = registry.get(kind).scheme
    key = base64.b64decode(WHSEC.removeprefix("whsec_")) if kind != "stripe" else TEXT.encode()
    made = hmac.new(key, BODY, "sha256")
    value = made.hexdigest() if kind == "stripe" else base64.b64encode(made.digest()).decode()
    headers = {
        **sign(kind, secret_of(kind), BODY),
        scheme.header: scheme.wrapping.format(timestamp=NOW, signature=value).encode(),
    }
    found = told(examine(kind, headers))
    assert (found.cause, found.told["found"]) == (Cause.BASE, "{body}")


@pytest.mark.parametrize(
    "base",
    ["{body}", "{timestamp}{body}", "{timestamp}:{body}", "v0:{timestamp}:{body}", "{body}{timestamp}"],
)
def test_another_base_string_of_a_home_made_scheme_is_found(base):
    content = base.replace("{timestamp}", str(NOW)).encode().replace(b"{body}", BODY)
    headers = {
        "x-sig": hmac.new(TEXT.encode(), content, "sha256").hexdigest().encode(),
        "x-time": str(NOW).encode(),
    }
    found = told(examine("hmac", headers, options=HMAC))
    assert (found.cause, found.told) == (Cause.BASE, {"found": base, "expected": "{timestamp}.{body}"})


def test_a_scheme_that_is_not_described_yet_is_said():
    assert causes(examine("hmac", {})) == [Cause.NOT_SET_UP]


# --- clock
@pytest.mark.parametrize("kind", TIMED)
@pytest.mark.parametrize(
    ("late", "cause"), [(301, Cause.TOO_OLD), (-301, Cause.TOO_NEW), (86_400, Cause.TOO_OLD)]
)
def test_a_clock_that_is_off_is_told_by_how_much(kind, late, cause):
    found = told(examine(kind, sign(kind, secret_of(kind), BODY, at=NOW - late)))
    assert (found.cause, found.told) == (cause, {"seconds": abs(late), "window": 300})


def test_milliseconds_for_seconds_are_found():
    key = base64.b64decode(WHSEC.removeprefix("whsec_"))
    assert causes(examine("standard", standard(key, stamp=str(NOW * 1000)))) == [Cause.MILLISECONDS]


def test_a_time_that_is_signed_in_another_unit_than_sent_is_found():
    key = base64.b64decode(WHSEC.removeprefix("whsec_"))
    headers = {**standard(key, stamp=str(NOW * 1000)), "webhook-timestamp": str(NOW).encode()}
    found = told(examine("standard", headers))
    assert (found.cause, found.told) == (Cause.TIME_VALUE, {"how": "in milliseconds"})


# --- several at once, and limits
def test_two_mistakes_are_both_named():
    made = hmac.new(f"{TEXT}\n".encode(), BODY, "sha256").hexdigest().encode()
    found = examine("shopify", {"x-hub-signature": made})
    assert causes(found) == [Cause.SECRET_MISREAD, Cause.ENCODING, Cause.WRONG_HEADER]


def test_no_answer_holds_a_secret():
    found = examine("shopify", sign("shopify", TEXT + "\n", BODY), secrets=[Secret(Owner.CURRENT, TEXT)])
    assert TEXT not in repr(found)
    assert TEXT not in repr(Secret(Owner.CURRENT, TEXT))


def test_a_body_of_the_largest_size_ends_in_time():
    """The work is counted in bytes and not in seconds."""
    body = b'{"a":"' + b"x" * 1_000_000 + b'"}'
    found = examine("hubspot", sign("hubspot", "another-secret", body), body)
    assert found.gave_up or causes(found) == [Cause.UNKNOWN]


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"[" * 100_000, b"1e999999", b"", b"NaN", b"[]"])
def test_hostile_bodies_are_only_not_explained(body):
    for kind in ALL:
        headers = sign(kind, secret_of(kind), b"something else")
        assert not examine(kind, headers, body).fits


# --- reading
@pytest.mark.parametrize(
    "text",
    [
        "X-Sig: abc=\nContent-Type: application/json",
        "-H 'X-Sig: abc=' \\\n-H 'Content-Type: application/json'",
        "'X-Sig: abc='\n'content-type: application/json'",
        '"x-sig": "abc=",\n"content-type": "application/json"',
        "POST /hooks/shop/ HTTP/1.1\nx-sig:abc=\ncontent-type:application/json\n\n",
    ],
)
def test_headers_are_read_as_people_paste_them(text):
    assert scheme_tester.read_headers(text) == {"x-sig": b"abc=", "content-type": b"application/json"}


def test_more_than_a_requests_headers_is_refused():
    for text in ("x" * 40_000, "\n".join(f"h{number}: 1" for number in range(101))):
        with pytest.raises(scheme_tester.TooMuch):
            scheme_tester.read_headers(text)
