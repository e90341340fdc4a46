"""Which headers are kept with a message: what helps to understand it, nothing that opens a door or names an address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

MOST = 24
LONGEST = 200
# A broker lets names through that HTTP would not, and a NUL in one would not fit into the row.
_NAME = re.compile(r"[!-~]{1,64}")
_LEFT_OUT = re.compile(
    r"authorization|cookie|signature|hmac|token|secret|password|api-?key|forwarded|(^|-)ip$|^via$|^host$|^connection$"
)


def kept(headers: Mapping[str, bytes]) -> dict[str, str]:
    """Lower-case names to readable values; the first few dozen, each cut."""
    names = [name for name in headers if is_kept(name)][:MOST]
    return {name: headers[name][:LONGEST].decode("latin-1").replace("\x00", "") for name in names}


@lru_cache(maxsize=512)
def is_kept(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and _LEFT_OUT.search(name) is None
