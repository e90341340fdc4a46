"""What senders get wrong, as variants of what should have been: each has a name, and "" is the right one."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from crm_integration import signatures
from crm_integration.schemes import Key, Scheme

RIGHT = ""
PREFIX = signatures.PREFIX
ALGORITHM_BY_SIZE = {16: "md5", 20: "sha1", 28: "sha224", 32: "sha256", 48: "sha384", 64: "sha512"}
_TOKEN = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(rb"[0-9a-fA-F]+")
_NUMBER = re.compile(rb"(?<![0-9])[0-9]{9,13}(?![0-9])")
# Headers that carry signatures of other things, or whose tokens only look like some.
_NOT_SIGNATURES = frozenset({"authorization", "cookie", "user-agent", "traceparent"})
BASES = (
    "{body}",
    "{timestamp}.{body}",
    "{timestamp}{body}",
    "{timestamp}:{body}",
    "v0:{timestamp}:{body}",
    "{body}{timestamp}",
    "{body}.{timestamp}",
    "{id}.{body}",
    "{id}.{timestamp}.{body}",
    "{timestamp}.{id}.{body}",
    "{url}{body}",
    "{method}{url}{body}",
    "{method}{url}{body}{timestamp}",
    "{url}",
)


# Each is tried with every body: headers full of numbers would be minutes of work.
MOST_TIMES = 12


class Variant(NamedTuple):
    name: str
    value: bytes


class Candidate(NamedTuple):
    """Something in a header that may be a signature: the raw digest, and how it was written."""

    header: str
    digest: bytes
    encoding: str


def candidates(headers: Mapping[str, bytes]) -> list[Candidate]:
    found = []
    for name, value in headers.items():
        if name not in _NOT_SIGNATURES:
            for token in _TOKEN.findall(value)[: signatures.MAX_SIGNATURES]:
                found += [Candidate(name, digest, encoding) for encoding, digest in _readings(token)]
    return found


def _readings(token: bytes) -> Iterator[tuple[str, bytes]]:
    if _HEX.fullmatch(token) and len(token) % 2 == 0 and len(token) // 2 in ALGORITHM_BY_SIZE:
        yield "hex" if token == token.lower() else "hex in capitals", bytes.fromhex(token.decode())
    with suppress(binascii.Error, ValueError):
        plain = token.rstrip(b"=")
        is_url = b"-" in plain or b"_" in plain
        padded = plain + b"=" * (-len(plain) % 4)
        raw = base64.b64decode(padded, altchars=b"-_" if is_url else None, validate=True)
        if len(raw) in ALGORITHM_BY_SIZE:
            yield "base64url" if is_url else "base64" if padded == token else "base64 without padding", raw
        # Text in base64: a digest in hex, with or without a name before it.
        inner = raw.rpartition(b":")[2]
        if _HEX.fullmatch(inner) and len(inner) // 2 in ALGORITHM_BY_SIZE and len(inner) % 2 == 0:
            yield "base64 of id:hex" if b":" in raw else "base64 of hex", bytes.fromhex(inner.decode())


def keys(scheme: Scheme, secret: str) -> list[Variant]:
    """The right key first, then those of secrets that were pasted, stored or read the wrong way."""
    bare = secret.removeprefix(PREFIX)
    text = [
        ("with a newline at its end", f"{secret}\n"),
        ("with a Windows newline at its end", f"{secret}\r\n"),
        ("with a space at its end", f"{secret} "),
        ("with a space before it", f" {secret}"),
        ("in quotes", f'"{secret}"'),
        ("as text, without whsec_", bare),
        ("as text, with whsec_", PREFIX + bare),
    ]
    found = [Variant(name, value.encode()) for name, value in text]
    found += [Variant("written in base64", base64.b64encode(secret.encode()))]
    with suppress(binascii.Error, ValueError):
        padded = bare + "=" * (-len(bare) % 4)
        found.append(Variant("as the bytes that its base64 writes", base64.b64decode(padded, validate=True)))
    with suppress(ValueError):
        found.append(Variant("as the bytes that its hex writes", bytes.fromhex(secret)))
    right = _right_key(scheme, secret)
    return _distinct([*right, *found])


def _right_key(scheme: Scheme, secret: str) -> list[Variant]:
    if scheme.key is Key.TEXT:
        return [Variant(RIGHT, secret.encode())]
    with suppress(signatures.InvalidSecret):
        return [Variant(RIGHT, signatures.secret_key(secret))]
    return []


def bodies(body: bytes) -> list[Variant]:
    """The body as it is here, then as it may have been when it was signed."""
    found = [
        Variant("with a newline at its end", body + b"\n"),
        Variant("with a Windows newline at its end", body + b"\r\n"),
        Variant("without the white space at its end", body.rstrip()),
        Variant("with Windows newlines", body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")),
        Variant("with plain newlines", body.replace(b"\r\n", b"\n")),
        Variant("with a byte order mark", b"\xef\xbb\xbf" + body),
        Variant("without its byte order mark", body.removeprefix(b"\xef\xbb\xbf")),
        Variant("empty", b""),
    ]
    return _distinct([Variant(RIGHT, body), *found, *_charsets(body), *_rewritten(body)])


def _charsets(body: bytes) -> Iterator[Variant]:
    for name, decode, encode in (
        ("in Latin-1 instead of UTF-8", "utf-8", "latin-1"),
        ("in UTF-8 instead of Latin-1", "latin-1", "utf-8"),
        ("in Windows-1252 instead of UTF-8", "utf-8", "cp1252"),
    ):
        with suppress(UnicodeError):
            yield Variant(name, body.decode(decode).encode(encode))


def _rewritten(body: bytes) -> Iterator[Variant]:
    """JSON that was read and written again: equal to programs, another text to a signature."""
    try:
        content = json.loads(body)
        if isinstance(content, list) and content:
            yield Variant("of its first event alone", _json(content[0], tight=True))
        for name, options in (
            ("without spaces", {"tight": True}),
            ("without spaces, letters escaped", {"tight": True, "ascii": True}),
            ("without spaces, keys sorted", {"tight": True, "sort": True}),
            ("with spaces after , and :", {}),
            ("with spaces after , and :, letters escaped", {"ascii": True}),
            ("with spaces after , and :, keys sorted", {"sort": True}),
            ("indented by two", {"indent": 2}),
            ("indented by four", {"indent": 4}),
        ):
            yield Variant(f"written again {name}", _json(content, **options))
        slashed = _json(content, tight=True, ascii=True).replace(b"/", rb"\/")
        yield Variant("written again as PHP does, with \\/", slashed)
    except (ValueError, RecursionError):
        return


def _json(
    content: object,
    *,
    tight: bool = False,
    ascii: bool = False,
    sort: bool = False,
    indent: int | None = None,
) -> bytes:
    marks = (",", ":") if tight else None
    text = json.dumps(content, ensure_ascii=ascii, sort_keys=sort, indent=indent, separators=marks)
    return text.encode("utf-8", "surrogatepass")


def times(scheme: Scheme, headers: Mapping[str, bytes]) -> list[Variant]:
    """Numbers that may be the signed time, that of the scheme's own place first; and in the other unit."""
    own = [headers.get(scheme.timestamp_header, b"")] if scheme.timestamp_header else []
    own += _NUMBER.findall(headers.get(scheme.header, b"")) if not scheme.timestamp_header else []
    own = [value for value in own if value]
    others = [
        (name, number)
        for name, value in headers.items()
        if "time" in name or name == scheme.header
        for number in _NUMBER.findall(value)
    ]
    found = [Variant(RIGHT, value) for value in own[:1]]
    found += [Variant(f"of the header {name}", number) for name, number in others]
    for value in [*own, *(number for _name, number in others)]:
        if len(value) == 13:
            found.append(Variant("in seconds", value[:-3]))
        elif value.isdigit():
            found.append(Variant("in milliseconds", value + b"000"))
    return _distinct(found)[:MOST_TIMES]


def ids(scheme: Scheme, headers: Mapping[str, bytes]) -> list[Variant]:
    own = headers.get(scheme.id_header, b"") if scheme.id_header else b""
    found = [Variant(RIGHT, own)] if own else []
    found += [
        Variant(f"of the header {name}", value)
        for name, value in headers.items()
        if name.endswith("-id") and len(value) <= 200
    ]
    return _distinct(found)[:6]


def urls(url: str, headers: Mapping[str, bytes]) -> list[Variant]:
    """The address as the sender was given it, then as it or a proxy may have written it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return [Variant(RIGHT, url.encode("utf-8", "replace"))]
    other = "http" if parts.scheme == "https" else "https"
    changed = {
        f"with {other}://": parts._replace(scheme=other),
        "without its query": parts._replace(query=""),
        "without the slash at its end": parts._replace(path=parts.path.rstrip("/"), query=""),
        "with a slash at its end": parts._replace(path=parts.path.rstrip("/") + "/"),
        "without a port": parts._replace(netloc=parts.hostname or ""),
    }
    for name in ("host", "x-forwarded-host"):
        if host := headers.get(name, b"").decode("latin-1"):
            changed[f"with the host {host}"] = parts._replace(netloc=host)
            changed[f"with {other}:// and the host {host}"] = parts._replace(netloc=host, scheme=other)
    found = [Variant(name, urlunsplit(one).encode("utf-8", "replace")) for name, one in changed.items()]
    found.append(Variant("as its path alone", parts.path.encode("utf-8", "replace")))
    return _distinct([Variant(RIGHT, url.encode("utf-8", "replace")), *found])


def bases(scheme: Scheme) -> list[str]:
    return list(dict.fromkeys([scheme.base, *BASES]))


def _distinct(variants: Iterable[Variant]) -> list[Variant]:
    """Each value once, under its first name."""
    named: dict[bytes, str] = {}
    for variant in variants:
        named.setdefault(variant.value, variant.name)
    return [Variant(name, value) for value, name in named.items()]
