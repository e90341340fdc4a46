"""What a treatment changed: the difference between two arms, with an interval, from rows or from sums.

Arms are compared as they were assigned (intention to treat). With what was known before the assignment beside each
row the comparison is adjusted for it (CUPED: Deng, Xu, Kohavi and Walker, "Improving the Sensitivity of Online
Controlled Experiments by Utilizing Pre-Experiment Data", WSDM 2013). Intervals of means are Welch's; of shares
without a covariate Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10), which holds when
hardly anybody, or nobody, bought.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final

import numpy as np

LEVEL: Final = 0.95
NORMAL: Final = NormalDist()
# Below so many in an arm no interval is told: neither means nor variances say anything yet.
LEAST_ROWS: Final = 2


@dataclass(frozen=True)
class Moments:
    """Sums of one arm, which add up over parts: y is the outcome, x what was known before (0 where not used).

    n rows; means; and sums of squared deviations from the means (`syy`, `sxx`) and of their products (`sxy`).
    """

    n: int = 0
    y: float = 0.0
    x: float = 0.0
    syy: float = 0.0
    sxx: float = 0.0
    sxy: float = 0.0

    @classmethod
    def of(cls, outcome: np.ndarray, covariate: np.ndarray | None = None) -> Moments:
        """Of (n,) outcomes and, row by row, (n,) covariates. Raises ValueError for lengths that differ or no numbers."""
        y = _numbers(outcome)
        x = np.zeros_like(y) if covariate is None else _numbers(covariate)
        if len(x) != len(y):
            raise ValueError(f"{len(y)} outcomes but {len(x)} covariates")
        if not len(y):
            return cls()
        dy, dx = y - y.mean(), x - x.mean()
        return cls(len(y), float(y.mean()), float(x.mean()), float(dy @ dy), float(dx @ dx), float(dy @ dx))

    def __add__(self, other: Moments) -> Moments:
        """Both parts together (Chan, Golub and LeVeque 1979: exact without a second look at the rows)."""
        if not self.n or not other.n:
            return self if self.n else other
        n = self.n + other.n
        dy, dx, weight = other.y - self.y, other.x - self.x, self.n * other.n / n
        return Moments(
            n,
            self.y + dy * other.n / n,
            self.x + dx * other.n / n,
            self.syy + other.syy + dy * dy * weight,
            self.sxx + other.sxx + dx * dx * weight,
            self.sxy + other.sxy + dy * dx * weight,
        )


@dataclass(frozen=True)
class Estimate:
    """Mean of the treated less mean of the control, for each row; [low, high] holds the truth with chance `level`.

    Without anything to tell an interval by (an empty arm, one row, nothing that varies) `low` and `high` are
    infinite; without rows in an arm `value` is NaN. `reduction` is the share of the variance that the covariate took
    away (0 without one). `treated_mean` and `control_mean` are unadjusted.
    """

    value: float
    low: float
    high: float
    standard_error: float
    treated: int
    control: int
    treated_mean: float
    control_mean: float
    level: float = LEVEL
    reduction: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.is_known and (self.low > 0 or self.high < 0)

    def covers(self, truth: float) -> bool:
        return self.low <= truth <= self.high


def difference(
    treated: np.ndarray,
    control: np.ndarray,
    *,
    covariate_treated: np.ndarray | None = None,
    covariate_control: np.ndarray | None = None,
    level: float = LEVEL,
) -> Estimate:
    """Of (n,) and (m,) outcomes, one a row as it was assigned; zeros count, so give everybody assigned.

    covariate_treated (n,), covariate_control (m,): something known of each row *before* the assignment, such as what
    it spent in the days before; both or neither. With them the estimate is CUPED-adjusted.
    """
    if (covariate_treated is None) != (covariate_control is None):
        raise ValueError("a covariate is needed of both arms, or of none")
    return from_moments(
        Moments.of(treated, covariate_treated), Moments.of(control, covariate_control), level=level
    )


def from_moments(treated: Moments, control: Moments, *, level: float = LEVEL) -> Estimate:
    """`difference` of arms that are known by their sums; adjusted where x varies."""
    return stratified([(treated, control)], level=level)


def stratified(pairs: Sequence[tuple[Moments, Moments]], *, level: float = LEVEL) -> Estimate:
    """(treated, control) of strata that were drawn with chances of their own, each compared within itself.

    Strata weigh n·m/(n + m), as Mantel and Haenszel's do: one with hardly anybody in an arm says little, and one with
    fewer than LEAST_ROWS in an arm is left out. theta is the one that makes the variance of the difference least: sum of
    cov/n over sum of var/n of all arms, which is Deng et al.'s where the arms are alike and stays best where a holdout
    is much the smaller one.
    """
    usable = [pair for pair in pairs if min(arm.n for arm in pair) >= LEAST_ROWS]
    treated, control = (sum((pair[side] for pair in usable or pairs), Moments()) for side in (0, 1))
    if not usable:
        value = treated.y - control.y if treated.n and control.n else math.nan
        return _unknown(treated, control, value, level)
    raw = [one.n * other.n / (one.n + other.n) for one, other in usable]
    weighted = [(one, other, part / sum(raw)) for (one, other), part in zip(usable, raw, strict=True)]
    parts = [(arm, weight * weight) for one, other, weight in weighted for arm in (one, other)]
    theta = _theta(parts)
    value = sum(weight * (one.y - other.y - theta * (one.x - other.x)) for one, other, weight in weighted)
    means = (
        sum(weight * one.y for one, _other, weight in weighted),
        sum(weight * other.y for _one, other, weight in weighted),
    )
    variances = [square * _variance_of_mean(arm, theta) for arm, square in parts]
    before = sum(square * _variance_of_mean(arm, 0.0) for arm, square in parts)
    variance = sum(variances)
    # Rounding leaves dust of what should be nothing; a mean without variance tells no interval.
    if variance <= 1e-24 * max(1.0, means[0] ** 2, means[1] ** 2):
        unknown = _unknown(treated, control, value, level)
        return replace(unknown, treated_mean=means[0], control_mean=means[1])
    error = math.sqrt(variance)
    reach = _t_quantile((1 + level) / 2, _welch(variances, [arm.n for arm, _square in parts])) * error
    return Estimate(
        value,
        value - reach,
        value + reach,
        error,
        treated.n,
        control.n,
        means[0],
        means[1],
        level,
        max(0.0, 1 - variance / before) if before > 0 else 0.0,
    )


def share_difference(
    treated_hits: int, treated: int, control_hits: int, control: int, *, level: float = LEVEL
) -> Estimate:
    """The difference between two shares: hits among n and among m. Newcombe's interval, also where hits are none.

    Raises ValueError when there are more hits than rows.
    """
    if not (0 <= treated_hits <= treated and 0 <= control_hits <= control):
        raise ValueError("more hits than rows")
    if not treated or not control:
        arms = (
            Moments(treated, _ratio(treated_hits, treated)),
            Moments(control, _ratio(control_hits, control)),
        )
        return _unknown(*arms, float("nan"), level)
    p, q = treated_hits / treated, control_hits / control
    z = NORMAL.inv_cdf((1 + level) / 2)
    (p_low, p_high), (q_low, q_high) = _wilson(p, treated, z), _wilson(q, control, z)
    value = p - q
    return Estimate(
        value,
        value - math.hypot(p - p_low, q_high - q),
        value + math.hypot(p_high - p, q - q_low),
        math.sqrt(p * (1 - p) / treated + q * (1 - q) / control),
        treated,
        control,
        p,
        q,
        level,
    )


def _t_quantile(share: float, freedom: float) -> float:
    from scipy import stats  # takes long to load, and pages that show figures work none out

    return float(stats.t.ppf(share, freedom))


def _numbers(values: np.ndarray) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ValueError("an arm is one number a row, none of them missing")
    return found


def _theta(parts: Sequence[tuple[Moments, float]]) -> float:
    """Of arms, each with the square of what its mean weighs."""
    top = sum(square * arm.sxy / ((arm.n - 1) * arm.n) for arm, square in parts)
    bottom = sum(square * arm.sxx / ((arm.n - 1) * arm.n) for arm, square in parts)
    return top / bottom if bottom > 0 else 0.0


def _variance_of_mean(arm: Moments, theta: float) -> float:
    squares = arm.syy - 2 * theta * arm.sxy + theta * theta * arm.sxx
    return max(squares, 0.0) / ((arm.n - 1) * arm.n)


def _welch(parts: Sequence[float], rows: Sequence[int]) -> float:
    """Degrees of freedom by Welch and Satterthwaite."""
    return sum(parts) ** 2 / sum(part**2 / (n - 1) for part, n in zip(parts, rows, strict=True))


def _wilson(share: float, rows: int, z: float) -> tuple[float, float]:
    middle = share + z * z / (2 * rows)
    reach = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    whole = 1 + z * z / rows
    return max(0.0, (middle - reach) / whole), min(1.0, (middle + reach) / whole)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _unknown(treated: Moments, control: Moments, value: float, level: float) -> Estimate:
    means = [arm.y if arm.n else float("nan") for arm in (treated, control)]
    return Estimate(
        value, -math.inf, math.inf, math.inf, treated.n, control.n, means[0], means[1], level, 0.0
    )
