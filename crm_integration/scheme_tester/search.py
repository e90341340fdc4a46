"""Looks for the secret, the content and the writing that make a signature that is there."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import NamedTuple

from crm_integration import schemes
from crm_integration.adapters.base import Delivery
from crm_integration.scheme_tester import variants
from crm_integration.scheme_tester.variants import ALGORITHM_BY_SIZE, RIGHT, Candidate, Variant
from crm_integration.schemes import METHOD, PLACEHOLDER, Scheme

# The work of one test: so many bytes are hashed at most, about a second.
MAX_HASHED = 200_000_000
# How two things put together are hashed without HMAC: HubSpot's older versions, and many home-made schemes.
PLAIN_HASHES = ("{secret}{body}", "{body}{secret}", "{secret}{method}{url}{body}")


class Owner(StrEnum):
    CURRENT = "current"
    PREVIOUS = "previous"  # within its day of grace
    EXPIRED = "expired"
    TYPED = "typed"
    OTHER = "other"


@dataclass(frozen=True)
class Secret:
    """A secret to try. `label` is all that is ever said of it."""

    owner: Owner
    value: str = field(repr=False)
    label: str = ""


class Signed(NamedTuple):
    """What may have been signed, and how it differs from what should have been: "" where it does not."""

    template: str
    parts: Mapping[str, bytes]
    base: str = RIGHT
    body: str = RIGHT
    time: str = RIGHT
    id: str = RIGHT
    url: str = RIGHT

    def content(self) -> bytes:
        """Put together when it is needed: hundreds of copies of a large body would not fit."""
        return schemes.content(self.template, self.parts)

    @property
    def differences(self) -> int:
        return sum(bool(name) for name in (self.base, self.body, self.time, self.id, self.url))


@dataclass(frozen=True)
class Match:
    """A way to make the signature. Names are "" where nothing differs; `base` is the other template."""

    secret: Secret
    key: str
    signed: Signed
    candidate: Candidate
    algorithm: str
    is_plain_hash: bool = False

    def differences(self, scheme: Scheme) -> int:
        return (
            self.signed.differences
            + bool(self.key)
            + (self.secret.owner not in {Owner.CURRENT, Owner.PREVIOUS})
            + (self.algorithm != scheme.algorithm)
            + (self.candidate.header not in {scheme.header, *scheme.aliases})
            + (self.candidate.encoding != written_in(scheme))
            + 2 * self.is_plain_hash
        )


@dataclass(frozen=True)
class Found:
    """`tried`: how many combinations were hashed. `gave_up`: there was more than a second's work."""

    match: Match | None
    tried: int
    gave_up: bool = False


def written_in(scheme: Scheme) -> str:
    return "base64 of id:hex" if scheme.armoured else scheme.encoding


def search(scheme: Scheme, delivery: Delivery, secrets: Sequence[Secret]) -> Found:
    """The match with the fewest differences; at most two things about key and content are changed at a time."""
    candidates = variants.candidates(delivery.headers)
    by_digest: dict[bytes, list[Candidate]] = {}
    for candidate in candidates:
        by_digest.setdefault(candidate.digest, []).append(candidate)
    algorithms = {ALGORITHM_BY_SIZE[len(candidate.digest)] for candidate in candidates}
    contents = sorted(_contents(scheme, delivery), key=lambda signed: signed.differences)
    tried, hashed, best = 0, 0, None
    for secret, key, signed in _combinations(scheme, secrets, contents):
        if best is not None and signed.differences + bool(key.name) >= best.differences(scheme):
            continue
        if hashed > MAX_HASHED:
            return Found(best, tried, gave_up=True)
        content = signed.content()
        for algorithm in algorithms:
            tried, hashed = tried + 1, hashed + len(content)
            digest = hmac.new(key.value, content, algorithm).digest()
            for candidate in by_digest.get(digest, ()):
                match = Match(secret, key.name, signed, candidate, algorithm)
                best = _better(best, match, scheme)
    if best is None:
        best = _plain_hash(delivery, secrets, by_digest, algorithms)
    return Found(best, tried)


def _better(best: Match | None, match: Match, scheme: Scheme) -> Match:
    return match if best is None or match.differences(scheme) < best.differences(scheme) else best


def _combinations(
    scheme: Scheme, secrets: Sequence[Secret], contents: Sequence[Signed]
) -> Iterator[tuple[Secret, Variant, Signed]]:
    """The likely ones first. Secrets of other connections are tried as they are."""
    for secret in secrets:
        if not secret.value:
            continue
        keys = variants.keys(scheme, secret.value)
        if secret.owner is Owner.OTHER:
            keys = [key for key in keys if key.name == RIGHT] or keys[:1]
        for signed in contents:
            for key in keys:
                if signed.differences + bool(key.name) <= 2 and not (
                    secret.owner is Owner.OTHER and signed.differences > 1
                ):
                    yield secret, key, signed


def _contents(scheme: Scheme, delivery: Delivery) -> Iterator[Signed]:
    bodies = variants.bodies(delivery.body)
    times = variants.times(scheme, delivery.headers)
    ids = variants.ids(scheme, delivery.headers)
    urls = variants.urls(delivery.url, delivery.headers)
    nothing = [Variant(RIGHT, b"")]
    for base in variants.bases(scheme):
        names = set(PLACEHOLDER.findall(base))
        choices = [
            options if name in names else nothing
            for name, options in (("body", bodies), ("timestamp", times), ("id", ids), ("url", urls))
        ]
        for body, time, message_id, url in product(*choices):
            other = base if base != scheme.base else RIGHT
            if sum(map(bool, (other, body.name, time.name, message_id.name, url.name))) > 2:
                continue
            parts = {
                "method": METHOD,
                "body": body.value,
                "timestamp": time.value,
                "id": message_id.value,
                "url": url.value,
            }
            yield Signed(base, parts, other, body.name, time.name, message_id.name, url.name)


def _plain_hash(
    delivery: Delivery,
    secrets: Sequence[Secret],
    by_digest: dict[bytes, list[Candidate]],
    algorithms: set[str],
) -> Match | None:
    parts = {"body": delivery.body, "method": METHOD, "url": delivery.url.encode()}
    for secret, base, algorithm in product(secrets, PLAIN_HASHES, sorted(algorithms)):
        content = b"".join(
            secret.value.encode() if name == "secret" else parts[name]
            for name in base.strip("{}").split("}{")
        )
        for candidate in by_digest.get(hashlib.new(algorithm, content, usedforsecurity=False).digest(), ()):
            signed = Signed(base, {}, base)
            return Match(secret, RIGHT, signed, candidate, algorithm, is_plain_hash=True)
    return None
