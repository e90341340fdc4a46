"""Promises in seconds on a machine that does other things too."""

from __future__ import annotations

import os


def on_this_machine(seconds: float) -> float:
    """What `seconds` of a machine with time to spare are here and now: more than one process waits for each core."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
