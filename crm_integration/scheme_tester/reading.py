"""Headers as people paste them: lines of a log, of curl, or of a browser's inspector."""

from __future__ import annotations

import re

MAX_HEADERS = 100
MAX_TEXT = 32_768
_LINE = re.compile(r"""^\s*(?:-H\s+|--header\s+)?['"]?\s*([A-Za-z0-9!#$%&*+.^_|~-]+)['"]?\s*:\s*(.*?)\s*$""")


class TooMuch(ValueError):
    """More than a request's headers can be."""


def read_headers(text: str) -> dict[str, bytes]:
    """Lower-case names to values; lines that are no header are skipped. Raises TooMuch."""
    if len(text) > MAX_TEXT:
        raise TooMuch
    found: dict[str, bytes] = {}
    for line in text.splitlines():
        match = _LINE.match(line.rstrip(" \\,"))
        if match is None:
            continue
        found[match[1].lower()] = _unquoted(match[2]).encode("latin-1", "replace")
    if len(found) > MAX_HEADERS:
        raise TooMuch
    return found


def _unquoted(value: str) -> str:
    """Without the quotes that curl or JSON put around the value, or around the whole line."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value.rstrip("'\"") if value.count("'") == 1 or value.count('"') == 1 else value
