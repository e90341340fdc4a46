"""Promises in seconds on a machine that does other things too."""

from __future__ import annotations

import os
import time


def on_this_machine(seconds: float) -> float:
    """What `seconds` of a machine with time to spare are here and now: more than one process waits for each core."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_until(is_so, *, seconds: float = 30) -> None:
    """Return once `is_so()`; a test that waits in vain fails here."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
