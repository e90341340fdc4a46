"""What this process knows of the connections that may send: kept decrypted, and never trusted without a check.

Reading and decrypting a connection takes longer than storing its message. So it is kept, and the statement that stores
a message asks by its stamp whether it is still the same (storing.store_once); whoever refuses a message asks anew first.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

from crm_integration import connections, storing
from crm_integration.adapters import registry
from crm_integration.adapters.base import Adapter
from crm_integration.models import Connection

KEPT: Final = 256
_kept: dict[str, Receiver] = {}
_lock: Final = Lock()


@dataclass(frozen=True)
class Receiver:
    """A connection that may send, how its messages are verified, and the stamp under which that is so."""

    connection: Connection
    adapter: Adapter
    stamp: str
    url: str


def kept(slug: str) -> Receiver | None:
    """As it was when it was last looked up."""
    return _kept.get(slug)


def look_up(slug: str) -> Receiver | None:
    """As it is stored now; None when nothing may be sent there."""
    row = storing.stamped(connections.receiving(slug)).first()
    found = None if row is None else _receiver(row)
    with _lock:
        _kept.pop(slug, None)
        if found is not None:
            _kept[slug] = found
            while len(_kept) > KEPT:
                del _kept[next(iter(_kept))]
    return found


def _receiver(row: Any) -> Receiver | None:
    """row: a Connection with its stamp. None where its kind is no longer known."""
    try:
        return Receiver(row, registry.get(row.adapter), row.stamp, connections.hook_url(row))
    except registry.UnknownAdapter:
        return None
