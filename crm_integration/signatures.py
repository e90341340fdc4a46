"""Signatures, made and checked over raw bytes: Standard Webhooks (https://www.standardwebhooks.com) and plain HMACs.

Standard Webhooks signs `id.timestamp.body`; the signature is base64(HMAC-SHA256) under the secret's bytes.
Most vendors sign with the secret's text as it is; `verify_mac` serves them all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets as random
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

PREFIX = "whsec_"
TOLERANCE_SECONDS = 300
SECRET_BYTES = 32
SECRET_SIZES = range(24, 65)
MAX_SIGNATURES = 16
TEXT_SECRET_SIZES = range(8, 257)
ALGORITHMS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha512": hashlib.sha512}
ENCODINGS = ("hex", "base64")
# Strict on purpose: "+1", " 1", "1.5", "1e9" and digits of other scripts are all refused.
_TIMESTAMP = re.compile(rb"[0-9]{1,12}")
_MESSAGE_ID = re.compile(rb"[!-~]{1,200}")


class Reason(StrEnum):
    """Why a delivery is refused; counted by day for staff."""

    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable_body"
    NO_SECRET = "no_secret_set"  # noqa: S105
    MISSING_HEADERS = "missing_headers"
    BAD_MESSAGE_ID = "bad_message_id"
    BAD_TIMESTAMP = "bad_timestamp"
    TOO_OLD = "timestamp_too_old"
    TOO_NEW = "timestamp_in_the_future"
    WRONG_SIGNATURE = "wrong_signature"
    REUSED_ID = "id_reused_with_another_body"
    NO_MESSAGE_ID = "no_message_id"
    NOT_JSON = "not_a_json_object"
    BAD_CLOUD_EVENT = "not_a_cloud_event"
    NOT_CONFIGURED = "kind_not_set_up"


class BadSignature(Exception):
    """The delivery is not from someone who knows the secret now; `reason` says which check failed."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class InvalidSecret(ValueError):
    """The text cannot be a secret of this scheme."""


@dataclass(frozen=True)
class SignedParts:
    """The three headers as the bytes that arrived."""

    message_id: bytes
    timestamp: bytes
    signatures: bytes


def generate_secret() -> str:
    """A fresh secret: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(random.token_bytes(SECRET_BYTES)).decode("ascii")


def secret_key(secret: str) -> bytes:
    """The HMAC key of a secret, with or without the prefix; raises InvalidSecret unless it is 24 to 64 bytes."""
    text = secret.strip().removeprefix(PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidSecret("a signing secret is whsec_ followed by base64 text") from error
    if len(key) not in SECRET_SIZES:
        raise InvalidSecret(f"a signing secret holds 24 to 64 bytes; this one holds {len(key)}")
    return key


def sign(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature: `v1,<base64>`."""
    return _signature(secret_key(secret), message_id.encode(), str(timestamp).encode(), body).decode("ascii")


def headers(secrets: Sequence[str], *, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a delivery, signed with every secret (two while a rotation is under way)."""
    signed = [sign(secret, message_id=message_id, timestamp=timestamp, body=body) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signed),
    }


def verify(
    parts: SignedParts, body: bytes, *, secrets: Iterable[str], now: int, max_age: int = TOLERANCE_SECONDS
) -> None:
    """Return when any secret made any of the signatures and the time is within five minutes either way.

    `now` is in seconds since 1970; `max_age` seconds may have passed where something in between holds messages.
    Raises BadSignature with the reason; never anything else for bad input.
    """
    keys = _usable_keys(secrets)
    if not keys:
        raise BadSignature(Reason.NO_SECRET)
    _check_syntax(parts)
    check_time(int(parts.timestamp), now=now, max_age=max_age)
    given = parts.signatures.split(b" ")[:MAX_SIGNATURES]
    found = False
    for key in keys:
        expected = _signature(key, parts.message_id, parts.timestamp, body)
        for candidate in given:
            found |= hmac.compare_digest(expected, candidate)
    if not found:
        raise BadSignature(Reason.WRONG_SIGNATURE)


def _usable_keys(secrets: Iterable[str]) -> list[bytes]:
    """A stored secret that cannot be read opens nothing, and must not turn a request into an error."""
    keys = []
    for secret in secrets:
        with suppress(InvalidSecret):
            keys.append(secret_key(secret))
    return keys


def _check_syntax(parts: SignedParts) -> None:
    if not (parts.message_id and parts.timestamp and parts.signatures):
        raise BadSignature(Reason.MISSING_HEADERS)
    if not _MESSAGE_ID.fullmatch(parts.message_id):
        raise BadSignature(Reason.BAD_MESSAGE_ID)
    if not _TIMESTAMP.fullmatch(parts.timestamp):
        raise BadSignature(Reason.BAD_TIMESTAMP)


def check_time(
    timestamp: float, *, now: int, tolerance: int = TOLERANCE_SECONDS, max_age: int | None = None
) -> None:
    """Raise BadSignature unless `timestamp` (seconds) is within the tolerance either way.

    `max_age`: another limit for old ones, where something in between holds messages.
    """
    if timestamp < now - (tolerance if max_age is None else max_age):
        raise BadSignature(Reason.TOO_OLD)
    if timestamp > now + tolerance:
        raise BadSignature(Reason.TOO_NEW)


def read_timestamp(value: bytes) -> float:
    """Seconds since 1970 from whole seconds, or from milliseconds (13 digits). Raises BadSignature."""
    if not value:
        raise BadSignature(Reason.MISSING_HEADERS)
    if re.fullmatch(rb"[0-9]{13}", value):
        return int(value) / 1000
    if not _TIMESTAMP.fullmatch(value):
        raise BadSignature(Reason.BAD_TIMESTAMP)
    return float(int(value))


def check_text_secret(secret: str) -> None:
    """Raise InvalidSecret unless `secret` is 8 to 256 printable characters without spaces."""
    if len(secret) not in TEXT_SECRET_SIZES or not all("!" <= letter <= "~" for letter in secret):
        raise InvalidSecret("a signing secret is 8 to 256 printable characters without spaces")


def new_text_secret() -> str:
    return random.token_hex(SECRET_BYTES)


def verify_mac(
    given: Sequence[bytes],
    content: bytes,
    *,
    secrets: Iterable[str],
    algorithm: str = "sha256",
    encoding: str = "base64",
) -> None:
    """Return when any of `secrets`, as the UTF-8 text it is, made any of the `given` signatures of `content`.

    Raises BadSignature with the reason; never anything else for bad input.
    """
    keys = [secret.encode() for secret in secrets if secret]
    if not keys:
        raise BadSignature(Reason.NO_SECRET)
    candidates = [candidate for candidate in given[:MAX_SIGNATURES] if candidate]
    if not candidates:
        raise BadSignature(Reason.MISSING_HEADERS)
    found = False
    for key in keys:
        expected = mac(key, content, algorithm=algorithm, encoding=encoding)
        for candidate in candidates:
            found |= hmac.compare_digest(expected, candidate)
    if not found:
        raise BadSignature(Reason.WRONG_SIGNATURE)


def mac(key: bytes, content: bytes, *, algorithm: str = "sha256", encoding: str = "base64") -> bytes:
    """The HMAC of `content`, in hex or base64."""
    digest = hmac.new(key, content, ALGORITHMS[algorithm]).digest()
    return digest.hex().encode() if encoding == "hex" else base64.b64encode(digest)


def _signature(key: bytes, message_id: bytes, timestamp: bytes, body: bytes) -> bytes:
    digest = hmac.new(key, b"%b.%b.%b" % (message_id, timestamp, body), hashlib.sha256).digest()
    return b"v1," + base64.b64encode(digest)
