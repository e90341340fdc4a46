"""How a kind signs, as data: test events are signed by it, and the scheme tester looks for what differs from it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from crm_integration import signatures

PLACEHOLDER = re.compile(r"\{(method|url|body|timestamp|id)\}")
METHOD = b"POST"


class Key(StrEnum):
    """What of the secret is the HMAC's key: its text as it is, or the bytes that the text after whsec_ writes."""

    TEXT = "text"
    BASE64 = "base64"


@dataclass(frozen=True)
class Scheme:
    """`base`: what is signed, of {method} {url} {timestamp} {id} {body}.

    `wrapping`: how the signature stands in its `header` (lower-case), with {timestamp} where it stands there too.
    `armoured`: the wrapped signature is written in base64 once more. `window`: seconds either way that a signed time
    may be off. `aliases`: other headers that may hold the signature.
    """

    header: str
    algorithm: str = "sha256"
    encoding: str = "base64"
    base: str = "{body}"
    wrapping: str = "{signature}"
    key: Key = Key.TEXT
    id_header: str = ""
    timestamp_header: str = ""
    in_milliseconds: bool = False
    armoured: bool = False
    window: int = signatures.TOLERANCE_SECONDS
    aliases: tuple[str, ...] = ()

    @property
    def signs_time(self) -> bool:
        return "{timestamp}" in self.base

    @property
    def signs_id(self) -> bool:
        return "{id}" in self.base


def content(base: str, parts: Mapping[str, bytes]) -> bytes:
    """The signed bytes: `base` with its placeholders filled, and the body never read as text."""
    pieces = PLACEHOLDER.split(base)
    return b"".join(
        piece.encode() if number % 2 == 0 else parts[piece] for number, piece in enumerate(pieces)
    )


def key_bytes(scheme: Scheme, secret: str) -> bytes:
    """Raises signatures.InvalidSecret."""
    return signatures.secret_key(secret) if scheme.key is Key.BASE64 else secret.encode()


def sign(
    scheme: Scheme, *, body: bytes, secret: str, url: str, message_id: str, now: int
) -> dict[str, bytes]:
    """The headers of a genuine message, by lower-case name. `now`: seconds since 1970. Raises InvalidSecret."""
    stamp = str(now * 1000 if scheme.in_milliseconds else now)
    told = {"method": METHOD, "url": url.encode(), "body": body}
    signed = content(scheme.base, {**told, "timestamp": stamp.encode(), "id": message_id.encode()})
    mac = signatures.mac(
        key_bytes(scheme, secret), signed, algorithm=scheme.algorithm, encoding=scheme.encoding
    )
    value = scheme.wrapping.replace("{timestamp}", stamp).replace("{signature}", mac.decode())
    if scheme.armoured:
        value = base64.b64encode(value.encode()).decode()
    headers = {scheme.header: value.encode()}
    if scheme.signs_time and scheme.timestamp_header:
        headers[scheme.timestamp_header] = stamp.encode()
    if scheme.signs_id and scheme.id_header:
        headers[scheme.id_header] = message_id.encode()
    return headers
