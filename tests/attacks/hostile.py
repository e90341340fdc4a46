"""Bodies that are validly signed and mean harm: each is kept, none breaks the door or the worker."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.attacks.doors import KINDS, Target, post
from tests.crm_integration.adapters.signing import PAYLOADS
from tests.crm_integration.adapters.test_vendor_nonsense import replaced, spots

MOST = 1024 * 1024
NUMBERS = (
    b"1e200000",
    b"-1e400",
    b"NaN",
    b"Infinity",
    b"-0",
    b"0.1e-400",
    b"9" * 5000,
    b"0x10",
    b"1" + b"0" * 300,
)
NONSENSE: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, -(2**64), 1e308, "", "x" * 5000, "\x00", "\ud800", "'; DROP TABLE x; --", "=1+1",
    "<script>", "2026-13-45", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", [], [[]], {}, {"a": {"b": []}},
    [None] * 50, "\u202e", "𝟙𝟚", "-", "1e9", "1,5", " 5 ",
)  # fmt: skip


@dataclass
class Result:
    tried: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)  # not 202
    unexplained: list[str] = field(default_factory=list)  # an accident in the worker, or no end and no reason
    outcomes: Counter[str] = field(default_factory=Counter)
    grown_mib: float = 0.0

    @property
    def is_good(self) -> bool:
        return not (self.refused or self.unexplained)


def run(count: int, seed: int) -> Result:
    from crm_integration import inbox
    from crm_integration.models import InboundMessage

    random, result, targets = Random(seed), Result(), [Target.of(kind, attack="hostile") for kind in KINDS]
    before = 0.0
    for number in range(count):
        if number == count // 10:
            before = _memory()  # everything was imported and each cache has been filled once
        target, name = targets[number % len(targets)], random.choice([*BODIES])
        body = BODIES[name](target, random)[:MOST]
        status, content = post(target.connection.slug, body, target.sign(body, message_id=f"m-{number}"))
        result.tried[name] += 1
        if status != 202:
            result.refused.append(f"{target.kind.slug}: {name}: {status} {content} {body[:300]!r}")
            continue
        inbox.process(content["id"])
        message = InboundMessage.objects.get(pk=content["id"])
        result.outcomes[message.outcome or message.state] += 1
        if not _is_explained(message):
            story = f"{message.state} {message.outcome} {message.error}"
            result.unexplained.append(f"{target.kind.slug}: {name}: {story} {body[:300]!r}")
    result.grown_mib = _memory() - before
    return result


def _is_explained(message: Any) -> bool:
    """Over, for a reason that names what is wrong with it: not ours."""
    if message.state == "done":
        return True
    return message.state == "failed" and bool(message.error) and "Unexpected" not in message.error


def _memory() -> float:
    """Resident MiB of this process, which is door and worker in one."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


# --- Bodies -----------------------------------------------------------------------------------------------
def deep(target: Target, random: Random) -> bytes:
    opening = random.choice([b"[", b'{"a":', b'[{"b":', b'{"data":'])
    return opening * random.choice([200, 10_000, 100_000])


def number(target: Target, random: Random) -> bytes:
    """A number of the vendor's own message is replaced by one that no reader likes."""
    text = json.dumps(_spoiled(target, random, 987654321012345)).encode()
    return text.replace(b"987654321012345", random.choice(NUMBERS))


def nonsense(target: Target, random: Random) -> bytes:
    """Up to four values of the vendor's own message are replaced."""
    content = _content(target.kind.slug, random)
    for _ in range(random.randrange(1, 5)):
        content = replaced(content, random.choice(list(spots(content))), random.choice(NONSENSE))
    return json.dumps(content).encode("utf-8", "surrogatepass")


def nul(target: Target, random: Random) -> bytes:
    return json.dumps(_spoiled(target, random, random.choice(["a\0b", "\0", "\0" * 100]))).encode()


def surrogates(target: Target, random: Random) -> bytes:
    text = json.dumps(_spoiled(target, random, "SPOT")).encode()
    return text.replace(
        b"SPOT", random.choice([b"\\ud800", b"\\udfff\\ud800", b"\xed\xa0\x80", b"\xff\xfe", b"\xc0\xaf"])
    )


def gzip_bomb(target: Target, random: Random) -> bytes:
    return _bomb()


def other_encoding(target: Target, random: Random) -> bytes:
    return target.kind.body.decode().encode(random.choice(["utf-16", "utf-32", "utf-8-sig", "utf-7"]))


def many_keys(target: Target, random: Random) -> bytes:
    return b"{" + b",".join(b'"k%d":%d' % (key, key) for key in range(random.choice([1000, 60_000]))) + b"}"


def same_key(target: Target, random: Random) -> bytes:
    return target.kind.body.rstrip()[:-1] + b',"id":1,"id":[],"type":{},"type":null}'


def long_text(target: Target, random: Random) -> bytes:
    return json.dumps(
        _spoiled(target, random, random.choice(["x", "é", "💣"]) * random.choice([300, 200_000]))
    ).encode()


def cut(target: Target, random: Random) -> bytes:
    return target.kind.body[: random.randrange(len(target.kind.body))]


def noise(target: Target, random: Random) -> bytes:
    return random.randbytes(random.randrange(2000))


def scalar(target: Target, random: Random) -> bytes:
    return random.choice(
        [b"", b"null", b"true", b"1", b'""', b"[]", b"{}", b"[null]", b"[[]]", b"[1,2]", b'[{"a":1}]']
    )


BODIES: dict[str, Callable[[Target, Random], bytes]] = {
    function.__name__: function
    for function in (
        deep, number, nonsense, nul, surrogates, gzip_bomb, other_encoding, many_keys, same_key, long_text, cut,
        noise, scalar,
    )
}  # fmt: skip


@cache
def _bomb() -> bytes:
    """A megabyte of nothing in a kilobyte, packed again and again: whoever unpacked it would not end."""
    packed = b"\0" * (64 * MOST)
    for _ in range(2):
        packed = gzip.compress(packed)
    return packed


@cache
def _names(kind: str) -> tuple[str, ...]:
    found = sorted(path.stem for path in (PAYLOADS / kind).glob("*.json"))
    return tuple(name for name in found if not name.startswith("api_"))


def _content(kind: str, random: Random) -> Any:
    names = _names(kind)
    if not names:
        from tests.attacks.doors import ORDER

        return json.loads(ORDER)
    return json.loads((PAYLOADS / kind / f"{random.choice(names)}.json").read_bytes())


def _spoiled(target: Target, random: Random, value: Any) -> Any:
    content = _content(target.kind.slug, random)
    return replaced(content, random.choice(list(spots(content))), value)
