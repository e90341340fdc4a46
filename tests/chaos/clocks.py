"""Clocks that are wrong, and jump, in processes that the harness starts; the database's stays right.

By time-machine, which changes what Python takes for the time. libfaketime is no way: with it `time.sleep` fails, or
waiting never ends, because it cannot leave the clock alone that only counts seconds.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import time_machine

VARIABLE = "CHAOS_CLOCK"
LOOK_SECONDS = 0.2


class Clock:
    """The harness's side. `environment` of the processes that go by it; it may be turned while they run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.environment = {VARIABLE: str(path)}
        self.turn(minutes=0)

    def turn(self, *, minutes: int) -> None:
        """So far ahead of the right time from now on, or behind it."""
        new = self._path.with_suffix(".new")
        new.write_text(str(minutes))
        new.replace(self._path)


_turned: time_machine.travel | None = None
_minutes = 0


def follow() -> None:
    """Go by the clock of the environment, if there is one, from now on. To be said again in what is forked."""
    if path := os.environ.get(VARIABLE):
        _look(Path(path))
        Thread(target=_keep_looking, args=(Path(path),), daemon=True).start()


def _keep_looking(path: Path) -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        _look(path)


def _look(path: Path) -> None:
    global _turned, _minutes
    minutes = int(path.read_text())
    if minutes == _minutes:
        return
    if _turned is not None:
        _turned.stop()
    _turned, _minutes = time_machine.travel(datetime.now(UTC) + timedelta(minutes=minutes)), minutes
    _turned.start()
