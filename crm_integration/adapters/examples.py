"""A harmless message of a vendor for “send a test event”: a template beside the adapter, filled when it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from django.utils.functional import Promise

# Whom test events are about. Nobody orders anything, so that no sum of the shop moves.
PERSON = "tierwise-test"


@dataclass(frozen=True)
class Example:
    """`body` is JSON with texts {person}, {now} (ISO 8601), {key} and {epoch} (a whole number where it stands alone).

    `headers` are sent beside the signature. `note`: what staff should know, such as how far the message can get.
    """

    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    note: str | Promise = ""

    def write(self, *, key: str, now: datetime) -> tuple[bytes, dict[str, bytes]]:
        """(body, headers) of one message."""
        moment = now.replace(microsecond=0)
        words = {"person": PERSON, "now": moment.isoformat(), "key": key, "epoch": str(int(now.timestamp()))}
        headers = {name: str(_filled(value, words)).encode() for name, value in self.headers.items()}
        return orjson.dumps(_filled(self.body, words)), headers


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(one, words) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, words) for one in value]
    if value == "{epoch}":
        return int(words["epoch"])
    if not isinstance(value, str):
        return value
    for name, word in words.items():
        value = value.replace(f"{{{name}}}", word)
    return value
