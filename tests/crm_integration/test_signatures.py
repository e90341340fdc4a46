from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from crm_integration import signatures
from crm_integration.signatures import BadSignature, InvalidSecret, Reason, SignedParts

# Published in the Standard Webhooks reference tests.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER = signatures.generate_secret()


def parts(message_id=MESSAGE_ID, timestamp=TIMESTAMP, signature=SIGNATURE):
    encode = lambda value: value if isinstance(value, bytes) else str(value).encode("latin-1")  # noqa: E731
    return SignedParts(encode(message_id), encode(timestamp), encode(signature))


def verify(found, body=BODY, *, secrets=(SECRET,), now=TIMESTAMP):
    signatures.verify(found, body, secrets=secrets, now=now)


def reason_of(found, **options):
    with pytest.raises(BadSignature) as refused:
        verify(found, **options)
    return refused.value.reason


def test_the_published_vector_is_made_and_accepted():
    assert signatures.sign(SECRET, message_id=MESSAGE_ID, timestamp=TIMESTAMP, body=BODY) == SIGNATURE
    verify(parts())


@given(
    body=st.text(max_size=200),
    message_id=st.from_regex(r"[A-Za-z0-9_.-]{1,60}", fullmatch=True),
    key=st.binary(min_size=24, max_size=64),
)
def test_the_public_library_and_we_make_the_same_signature(body, message_id, key):
    secret = "whsec_" + base64.b64encode(key).decode()
    raw = body.encode()
    theirs = Webhook(key).sign(message_id, datetime.fromtimestamp(TIMESTAMP, tz=UTC), body)
    assert signatures.sign(secret, message_id=message_id, timestamp=TIMESTAMP, body=raw) == theirs
    verify(parts(message_id, TIMESTAMP, theirs), raw, secrets=[secret])


def test_one_right_signature_among_several_is_enough():
    verify(parts(signature=f"v1a,bm90IGZvciB1cw== v1,{'A' * 44} {SIGNATURE}"))


def test_a_right_signature_behind_too_many_wrong_ones_is_not_looked_for():
    assert (
        reason_of(parts(signature=" ".join(["v1,x"] * signatures.MAX_SIGNATURES + [SIGNATURE])))
        is Reason.WRONG_SIGNATURE
    )


@pytest.mark.parametrize("secrets", [(OTHER, SECRET), (SECRET, OTHER)])
def test_during_a_rotation_either_secret_opens(secrets):
    verify(parts(), secrets=secrets)


def test_both_secrets_sign_during_a_rotation():
    made = signatures.headers([SECRET, OTHER], message_id=MESSAGE_ID, timestamp=TIMESTAMP, body=BODY)
    for secret in (SECRET, OTHER):
        verify(parts(signature=made["webhook-signature"]), secrets=[secret])


@pytest.mark.parametrize("away", [-300, -299, 0, 299, 300])
def test_five_minutes_either_way_are_fresh(away):
    verify(parts(), now=TIMESTAMP + away)


@pytest.mark.parametrize(("away", "reason"), [(301, Reason.TOO_OLD), (-301, Reason.TOO_NEW)])
def test_beyond_five_minutes_is_refused(away, reason):
    assert reason_of(parts(), now=TIMESTAMP + away) is reason


@pytest.mark.parametrize(
    "timestamp",
    [
        "1614265330.0",
        "+1614265330",
        " 1614265330",
        "1614265330\n",
        "-5",
        "1e9",
        "0x60",
        "NaN",
        "1_614_265_330",
        "١٦".encode(),
        "9" * 13,
    ],
)
def test_a_timestamp_that_is_not_plain_digits_is_refused(timestamp):
    assert reason_of(parts(timestamp=timestamp)) is Reason.BAD_TIMESTAMP


@pytest.mark.parametrize("missing", ["message_id", "timestamp", "signature"])
def test_a_missing_header_is_refused(missing):
    assert reason_of(parts(**{missing: ""})) is Reason.MISSING_HEADERS


@pytest.mark.parametrize("message_id", ["a b", "a\tb", "ä", "x" * 201, "a\x00"])
def test_a_message_id_that_could_not_be_kept_is_refused(message_id):
    assert reason_of(parts(message_id=message_id)) is Reason.BAD_MESSAGE_ID


@pytest.mark.parametrize(
    "signature",
    [
        "v1",
        "v1,",
        ",",
        "v1,not base64!",
        SIGNATURE[3:],
        SIGNATURE.replace("v1", "v2"),
        SIGNATURE.rstrip("="),
        SIGNATURE.upper(),
        f"{SIGNATURE},{SIGNATURE}",
        "v1,\xff",
    ],
)
def test_a_malformed_signature_is_refused_without_another_error(signature):
    assert reason_of(parts(signature=signature)) is Reason.WRONG_SIGNATURE


@given(position=st.integers(0, len(BODY) * 8 - 1))
def test_one_flipped_bit_of_the_body_is_refused(position):
    body = bytearray(BODY)
    body[position // 8] ^= 1 << (position % 8)
    assert reason_of(parts(), body=bytes(body)) is Reason.WRONG_SIGNATURE


@given(
    message_id=st.binary(max_size=40),
    timestamp=st.binary(max_size=20),
    signature=st.binary(max_size=120),
    body=st.binary(max_size=80),
)
def test_nothing_random_is_accepted_and_nothing_else_is_raised(message_id, timestamp, signature, body):
    with pytest.raises(BadSignature):
        verify(SignedParts(message_id, timestamp, signature), body)


@pytest.mark.parametrize("secrets", [(), ("",), ("whsec_",), ("whsec_!!!",), ("whsec_c2hvcnQ=",)])
def test_without_a_usable_secret_everything_is_refused(secrets):
    assert reason_of(parts(), secrets=secrets) is Reason.NO_SECRET


def test_an_empty_secret_does_not_open_with_a_signature_made_by_an_empty_key():
    import hashlib
    import hmac

    forged = (
        "v1,"
        + base64.b64encode(
            hmac.new(b"", b"%b.%d.%b" % (MESSAGE_ID.encode(), TIMESTAMP, BODY), hashlib.sha256).digest()
        ).decode()
    )
    assert reason_of(parts(signature=forged), secrets=["", "whsec_"]) is Reason.NO_SECRET


def test_generated_secrets_differ_and_are_long_enough():
    made = {signatures.generate_secret() for _ in range(20)}
    assert len(made) == 20
    assert {len(signatures.secret_key(secret)) for secret in made} == {signatures.SECRET_BYTES}


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "hello",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
    ],
)
def test_a_secret_of_the_wrong_form_is_named(secret):
    with pytest.raises(InvalidSecret):
        signatures.secret_key(secret)
