"""Many who ask for the same thing at once are served together, by a thread beside them."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Hashable
from threading import Event, Lock, Thread
from time import sleep
from typing import Generic, TypeVar

Thing = TypeVar("Thing", bound=Hashable)


class Gatherer(Generic[Thing]):
    """serve: called with a thing, from the thread; it must not raise. pause: seconds between two rounds.

    The first who asks is served at once; who asks during the pause, at its end, all by one call. What is asked for
    when the process ends in form is still served; a process that is killed serves nothing more.
    """

    def __init__(self, serve: Callable[[Thing], None], pause: Callable[[], float]) -> None:
        self._serve, self._pause = serve, pause
        self._start_over()
        # A fork takes no thread along, and may come while somebody holds the lock.
        os.register_at_fork(after_in_child=self._start_over)

    def _start_over(self) -> None:
        self._lock, self._somebody = Lock(), Event()
        self._wanted: dict[Thing, None] = {}
        self._is_running = False

    def ask(self, thing: Thing) -> None:
        with self._lock:
            self._wanted[thing] = None
            if not self._is_running:
                self._is_running = True
                Thread(target=self._rounds, name="gatherer", daemon=True).start()
                atexit.register(self.flush)
        self._somebody.set()

    def flush(self) -> None:
        """Serve at once what was asked for: the process is about to end."""
        self._round()

    def _rounds(self) -> None:
        while True:
            self._somebody.wait()
            self._somebody.clear()
            self._round()
            sleep(self._pause())

    def _round(self) -> None:
        with self._lock:
            wanted, self._wanted = self._wanted, {}
        for thing in wanted:
            self._serve(thing)
