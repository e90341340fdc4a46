"""Forged requests of every kind of door: none may be taken, none may be a server error. Valid ones stand between them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

from django.utils import timezone

from tests.attacks.doors import KINDS, Target, post

# A door that refuses everything would refuse forgeries too.
VALID_EVERY = 21  # shares no divisor with the number of kinds, so each has its turn
Request = tuple[bytes, dict[str, str]]


@dataclass
class Result:
    tried: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)  # forged, and taken
    broken: list[str] = field(default_factory=list)  # anything but 401
    valid: int = 0
    valid_refused: list[str] = field(default_factory=list)
    stored: int = 0

    @property
    def is_good(self) -> bool:
        return not (self.accepted or self.broken or self.valid_refused) and self.stored == self.valid


def run(count: int, seed: int, *, only: str = "") -> Result:
    """count: forgeries, in turn for every kind of door. only: one way to forge instead of a random one each."""
    from crm_integration.models import InboundMessage

    random, result, targets = Random(seed), Result(), [Target.of(kind, attack="forgeries") for kind in KINDS]
    before = InboundMessage.objects.count()
    for number in range(count):
        target = targets[number % len(targets)]
        name = only or random.choice([*FORGERIES] if target.kind.times else UNTIMED)
        while (forged := FORGERIES[name](target, random)) is None:
            name = random.choice(UNTIMED)
        _try(target, f"{target.kind.slug}: {name}", forged, result)
        result.tried[name] += 1
        if number % VALID_EVERY == 0:
            _valid(target, number, result)
    result.stored = InboundMessage.objects.count() - before
    return result


def _try(target: Target, name: str, forged: Request, result: Result) -> None:
    status, content = post(target.connection.slug, *forged)
    if 200 <= status < 300:
        result.accepted.append(f"{name}: {forged!r}"[:2000])
    elif status != 401:
        result.broken.append(f"{name}: {status} {content} {forged!r}"[:2000])


def _valid(target: Target, number: int, result: Result) -> None:
    """A message of its own: another body where the body is what makes it known."""
    body = target.kind.body.rstrip() + b" " * (number % 5000)
    status, content = post(target.connection.slug, body, target.sign(body, message_id=f"m-{number}"))
    if (status, content.get("status")) == (202, "accepted"):
        result.valid += 1
    elif (status, content.get("status")) != (202, "duplicate"):
        result.valid_refused.append(f"{target.kind.slug}: {status} {content}")


# --- Ways to forge: (target, random) → request, or None where the kind has nothing of that sort -------------
def flipped_body(target: Target, random: Random) -> Request:
    body = target.kind.body
    return _flip(body, random), target.sign(body)


def flipped_signature(target: Target, random: Random) -> Request | None:
    return _with_signature(target, lambda value: _flip(value, random))


def shortened_body(target: Target, random: Random) -> Request:
    body = target.kind.body
    return body[: random.randrange(len(body))], target.sign(body)


def lengthened_body(target: Target, random: Random) -> Request:
    body = target.kind.body
    return body + random.choice([b" ", b"\n", b"\0", b"{}", b"."]), target.sign(body)


def shortened_signature(target: Target, random: Random) -> Request | None:
    return _with_signature(target, lambda value: value[: random.randrange(len(value))])


def lengthened_signature(target: Target, random: Random) -> Request | None:
    return _with_signature(target, lambda value: value + random.choice([b"A", b"=", b"0", b"\xe9"]))


def unknown_secret(target: Target, random: Random) -> Request:
    from crm_integration.adapters import registry

    return target.kind.body, target.sign(target.kind.body, secret=registry.get(target.kind.slug).new_secret())


def secret_of_another_connection(target: Target, random: Random) -> Request:
    return target.kind.body, target.sign(target.kind.body, secret=target.stranger)


def expired_secret(target: Target, random: Random) -> Request:
    return target.kind.body, target.sign(target.kind.body, secret=target.expired)


def empty_secret(target: Target, random: Random) -> Request | None:
    """Signed with a key of no bytes, as a sender would whose secret was lost."""
    if target.kind.slug not in {"shopify", "woocommerce", "mautic"}:
        return None
    mac = base64.b64encode(hmac.new(b"", target.kind.body, hashlib.sha256).digest()).decode()
    return target.kind.body, {**target.sign(target.kind.body), target.kind.signature: mac}


def too_old(target: Target, random: Random) -> Request:
    away = random.choice([301, 302, 600, 86_400, 10_000_000])
    return target.kind.body, target.sign(target.kind.body, at=timezone.now() - timedelta(seconds=away))


def too_new(target: Target, random: Random) -> Request:
    # A second more than the limit, which may pass while the request is made.
    away = random.choice([303, 600, 86_400, 10_000_000])
    return target.kind.body, target.sign(target.kind.body, at=timezone.now() + timedelta(seconds=away))


def another_time_or_id(target: Target, random: Random) -> Request | None:
    """What is signed along is changed by a digit, and the signature left as it was."""
    headers = target.sign(target.kind.body)
    name = random.choice(target.kind.times)
    if name == target.kind.signature:  # Stripe's stands in it
        changed = headers[name].replace("t=1", "t=2", 1) if random.random() < 0.5 else f"t=1,{headers[name]}"
    else:
        value = headers[name]
        place = random.randrange(len(value))
        digits = [digit for digit in "0123456789" if digit != value[place]]
        changed = value[:place] + random.choice(digits) + value[place + 1 :]
    return target.kind.body, {**headers, name: changed}


def no_signature(target: Target, random: Random) -> Request:
    headers = target.sign(target.kind.body)
    name = target.kind.signature or "signature"
    if random.random() < 0.5:
        return target.kind.body, {key: value for key, value in headers.items() if key != name}
    return target.kind.body, {**headers, name: random.choice(["", " ", ",", "v1,", "=", "null", "t=,v1="])}


def signature_of_another_body(target: Target, random: Random) -> Request:
    other = target.kind.body + b" "
    return target.kind.body, target.sign(other)


def doubled_header(target: Target, random: Random) -> Request | None:
    """Two headers of one name, as a WSGI server joins them."""
    if target.kind.slug == "stripe":
        return None  # its header is a list: one good signature of several is enough, by its documentation
    # Standard Webhooks divides a list by spaces, so that a comma alone joins two into none.
    joints = [b","] if target.kind.slug in {"standard", "svix"} else [b",", b", "]
    return _with_signature(target, lambda value: value + random.choice(joints) + value)


def other_algorithm(target: Target, random: Random) -> Request | None:
    """The right secret under another hash or another encoding."""
    key, body = target.secret.encode(), target.kind.body
    digest = hmac.new(key, body, random.choice([hashlib.md5, hashlib.sha384, hashlib.sha3_256])).digest()
    value = random.choice([digest.hex().encode(), base64.b64encode(digest), base64.b85encode(digest)])
    return _with_signature(target, lambda _value: value)


def other_case(target: Target, random: Random) -> Request | None:
    """The name of the version in another case, or of another version."""
    if target.kind.slug not in {"standard", "svix", "stripe", "hmac"}:
        return None
    prefix = {"stripe": "v1=", "hmac": "v0="}.get(target.kind.slug, "v1,")
    headers = target.sign(target.kind.body)
    changed = random.choice(
        [prefix.upper(), prefix.replace("v", "v1"), prefix.replace("1", "2").replace("0", "1")]
    )
    value = headers[target.kind.signature].replace(prefix, changed)
    return target.kind.body, {**headers, target.kind.signature: value}


def noise(target: Target, random: Random) -> Request:
    headers = target.sign(target.kind.body)
    name = target.kind.signature or "signature"
    value = "".join(chr(random.randrange(32, 256)) for _ in range(random.randrange(1, 300)))
    return random.randbytes(random.randrange(400)), {**headers, name: value}


FORGERIES: dict[str, Callable[[Target, Random], Request | None]] = {
    function.__name__: function
    for function in (
        flipped_body, flipped_signature, shortened_body, lengthened_body, shortened_signature, lengthened_signature,
        unknown_secret, secret_of_another_connection, expired_secret, empty_secret, no_signature,
        signature_of_another_body, doubled_header, other_algorithm, other_case, noise,
        too_old, too_new, another_time_or_id,
    )
}  # fmt: skip
NEED_TIME = {"too_old", "too_new", "another_time_or_id"}
UNTIMED = [name for name in FORGERIES if name not in NEED_TIME]


def _flip(value: bytes, random: Random) -> bytes:
    bit = random.randrange(len(value) * 8)
    forged = bytearray(value)
    forged[bit // 8] ^= 1 << (bit % 8)
    return bytes(forged)


def _with_signature(target: Target, change: Callable[[bytes], bytes]) -> Request | None:
    if not target.kind.signature:
        return None
    headers = target.sign(target.kind.body)
    changed = change(headers[target.kind.signature].encode("latin-1")).decode("latin-1")
    return target.kind.body, {**headers, target.kind.signature: changed}
