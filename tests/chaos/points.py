"""Named points at which a process of the harness kills itself: just before and just after what cannot be taken back.

`install` wraps the product's own functions, in processes that the harness starts (tests/chaos/sabotage.py in workers,
tests/chaos/web.py in the web server); the product knows nothing of it. A point is armed by a file in CHAOS_POINTS;
the one process that comes there first takes the file away, under its own number, and is gone with SIGKILL.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

FOLDER = "CHAOS_POINTS"
# insert: the row of a message that came in · publish: a nudge to the broker · commit: of any transaction of a worker
# effect: a delivery to the receiver · ack: of a worker's message to the broker
DEEDS = ("insert", "publish", "commit", "effect", "ack")
POINTS = tuple(f"{side}_{deed}" for deed in DEEDS for side in ("before", "after"))


class Trap:
    """The harness's side. folder: CHAOS_POINTS of the processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def arm(self, point: str) -> None:
        (self._folder / point).touch()

    def disarm(self, point: str) -> None:
        (self._folder / point).unlink(missing_ok=True)

    def victim(self, point: str) -> tuple[int, int] | None:
        """The process that died there since it was armed, and its parent; asked once. None as long as nobody has."""
        for body in self._folder.glob(f"{point}.*"):
            body.unlink()
            pid, parent = body.suffix[1:].split("-")
            return int(pid), int(parent)
        return None


def install(*deeds: str) -> None:
    """Watch both sides of these deeds in this process and in what it forks; where nobody arms points, do nothing."""
    if FOLDER not in os.environ:
        return
    for deed in deeds:
        owner, name = _PLACES[deed]()
        setattr(owner, name, _trapped(getattr(owner, name), deed))


def _trapped(real: Callable[..., Any], deed: str) -> Callable[..., Any]:
    @wraps(real)
    def watched(*args: Any, **options: Any) -> Any:
        _pass(f"before_{deed}")
        done = real(*args, **options)
        _pass(f"after_{deed}")
        return done

    return watched


def _pass(point: str) -> None:
    armed = Path(os.environ[FOLDER]) / point
    try:
        armed.rename(armed.with_suffix(f".{os.getpid()}-{os.getppid()}"))
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _insert() -> tuple[Any, str]:
    from crm_integration import storing

    return storing, "store_once"


def _publish() -> tuple[Any, str]:
    from workers import sender

    return sender, "send"


def _commit() -> tuple[Any, str]:
    from django.db.backends.base.base import BaseDatabaseWrapper

    return BaseDatabaseWrapper, "_commit"


def _effect() -> tuple[Any, str]:
    from crm_integration import attempts

    return attempts, "_sent"


def _ack() -> tuple[Any, str]:
    from celery.worker.request import Request

    return Request, "acknowledge"


_PLACES: dict[str, Callable[[], tuple[Any, str]]] = {
    "insert": _insert,
    "publish": _publish,
    "commit": _commit,
    "effect": _effect,
    "ack": _ack,
}
