"""Message bodies on a page: readable, and without personal data for those who may not see it."""

from __future__ import annotations

from typing import Any

import orjson
from django.utils.translation import gettext as _

MAX_SHOWN = 20_000
HIDDEN = "•••"
# What is needed to understand a message and says nothing about a person.
PLAIN = frozenset(
    {
        "type",
        "timestamp",
        "currency",
        "kind",
        "purpose",
        "status",
        "slug",
        "as_of",
        "tier",
        "level",
        "version",
    }
)


def shown(body: bytes | None, *, in_full: bool) -> str:
    """The body as indented JSON; texts are hidden unless `in_full`. Bytes that are no JSON are shown only in full."""
    if body is None:
        return _("The body is no longer kept.")
    try:
        content = orjson.loads(bytes(body))
    except orjson.JSONDecodeError:
        if not in_full:
            return _("%(count)d bytes that are not JSON.") % {"count": len(body)}
        return bytes(body[:MAX_SHOWN]).decode("utf-8", "backslashreplace").replace("\x00", "\\0")
    visible = content if in_full else masked(content)
    return orjson.dumps(visible, option=orjson.OPT_INDENT_2).decode()[:MAX_SHOWN]


def masked(content: Any, *, name: str = "") -> Any:
    """The same shape with every text hidden, and numbers kept. Depth is bounded by the JSON reader."""
    if isinstance(content, dict):
        return {key: masked(value, name=key) for key, value in content.items()}
    if isinstance(content, list):
        return [masked(value, name=name) for value in content]
    if isinstance(content, str) and name not in PLAIN:
        return HIDDEN
    return content
