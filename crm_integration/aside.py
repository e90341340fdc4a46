"""Waiting for a slow answer aside, so that a worker can serve others meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread
from typing import Generic, TypeVar

import structlog
from django.db import connection

log = structlog.get_logger(__name__)
T = TypeVar("T")


class Aside(Generic[T]):
    """Runs `work` in a thread of its own. Whoever started it waits for the result a while, or leaves it to the thread.

    A process that ends meanwhile takes the thread with it: what it had claimed runs out and is done again.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._lock = Lock()
        self._otherwise: Callable[[T], object] | None = None
        self._result: list[T] = []
        self._thread = Thread(target=self._run, name="aside", daemon=True)
        self._thread.start()

    def result(self, *, wait: float, otherwise: Callable[[T], object]) -> T | None:
        """The result where it comes within `wait` seconds; else None, and `otherwise(result)` is called when it comes."""
        self._thread.join(wait)
        with self._lock:
            if self._result:
                return self._result[0]
            self._otherwise = otherwise
        return None

    def _run(self) -> None:
        try:
            found = self._work()
            with self._lock:
                self._result.append(found)
                left_to_us = self._otherwise
            if left_to_us is not None:
                left_to_us(found)
        except Exception:
            # What was claimed runs out and is done again.
            log.exception("aside.failed")
        finally:
            connection.close()
