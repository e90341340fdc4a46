"""How sure one must be of an effect that is looked at every night: an interval that holds at all looks together.

A 95 % interval is right for one look on a day that was fixed beforehand. Whoever looks every night, and stops at the
first interval that leaves out zero, finds effects that are not there far more often than once in twenty. The mixture
of Robbins (Annals of Mathematical Statistics 41, 1970), as Johari, Koomen, Pekelis and Walsh use it ("Always Valid
Inference", Operations Research 70, 2022), leaves out the truth at any of its looks with chance ALPHA at most:

    reach² = (1 + s²) · (2 ln(1 / ALPHA) + ln(1 + 1 / s²)),   s = standard error / scale

in standard errors to either side. The scale says for effects of about which size it is sharpest; it must not be chosen
by what was seen. It holds for means of many rows, as the normal interval does.
"""

from __future__ import annotations

import math
from typing import Final

from segmentation.ml.experiments import NORMAL, Estimate

ALPHA: Final = 0.05
POWER: Final = 0.8
# Far from zero the mixture asks for more than need be: a thousand looks at this many errors are wrong once in 1,700.
MOST: Final = 5.0


def reach(standard_error: float, scale: float) -> float:
    """Standard errors to either side; MOST where no error or no scale is known."""
    if not (0 < standard_error < math.inf and 0 < scale < math.inf):
        return MOST
    square = (standard_error / scale) ** 2
    return min(MOST, math.sqrt((1 + square) * (2 * math.log(1 / ALPHA) + math.log1p(1 / square))))


def level(standard_error: float, scale: float) -> float:
    """The level at which an interval of one look is as wide."""
    return math.erf(reach(standard_error, scale) / math.sqrt(2))


def detectable(estimate: Estimate, scale: float, *, power: float = POWER) -> float:
    """The least effect that these arms would show at one look with this power; infinite where no error is known."""
    if not estimate.is_known or not estimate.standard_error > 0:
        return math.inf
    return (reach(estimate.standard_error, scale) + NORMAL.inv_cdf(power)) * estimate.standard_error


def rows_factor(estimate: Estimate, relevant: float, scale: float, *, power: float = POWER) -> float:
    """How many times the rows, arms alike, an effect of `relevant` would need to be seen with this power.

    At most 1 when there are enough. The standard error falls with the root of the rows. Infinite where no error is known
    or nothing is relevant.
    """
    if not estimate.is_known or not relevant > 0 or not estimate.standard_error > 0:
        return math.inf
    return (estimate.standard_error / _needed_error(relevant, scale, NORMAL.inv_cdf(power))) ** 2


def _needed_error(relevant: float, scale: float, spare: float) -> float:
    """The standard error at which reach and `spare` errors together are `relevant`; they grow with it."""
    low, high = 0.0, relevant
    for _halving in range(60):
        error = (low + high) / 2
        enough = (reach(error, scale) + spare) * error <= relevant
        low, high = (error, high) if enough else (low, error)
    return low
