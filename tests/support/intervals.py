"""Whether an estimate with a 95 % interval agrees with a known truth, in tests whose draws differ from run to run."""

from __future__ import annotations

from collections.abc import Mapping

# Half-widths on either side: 4.3 standard errors, which chance leaves once in 60,000 times.
ROOM = 2.2


def agrees(found: Mapping[str, float], truth: float) -> bool:
    """Whether ``truth`` lies within ``ROOM`` half-widths of the middle of ``found``'s ``low`` to ``high``."""
    middle = (found["low"] + found["high"]) / 2
    half = (found["high"] - found["low"]) / 2
    return half > 0 and abs(truth - middle) <= ROOM * half
