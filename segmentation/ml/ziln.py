"""The zero-inflated log-normal: what a customer spends, nothing at all being common.

Source: Wang, Liu, Miao (2019), A deep probabilistic model for customer lifetime value prediction,
arXiv 1912.07753. Spend is 0 with probability 1 - p, else exp(N(mu, sigma^2)). All arrays are (n,).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from segmentation.ml.schema import TargetPrediction

# Of customers, the share whose spend the interval is to hold.
SHARE = 0.8
# A float64 ends near exp(709); no purse comes close.
MAX_EXPONENT = 700.0


@dataclass(frozen=True)
class ZeroInflatedLogNormal:
    positive: np.ndarray
    mu: np.ndarray
    sigma: np.ndarray

    def mean(self, *, largest: float = np.inf) -> np.ndarray:
        """p exp(mu + sigma^2 / 2); buyers' mean is capped at the `largest` spend seen in training."""
        with np.errstate(divide="ignore"):
            ceiling = np.log(largest)
        return self.positive * np.exp(np.minimum(self.mu + self.sigma**2 / 2, ceiling))

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the 80 % interval: as much left out below as above, unless nothing at all is likely enough to be in it.

        The mass at zero cannot be cut: where it is a tenth or more, both tails of a tenth would leave 90 % or more inside,
        so the interval begins at 0 and leaves a fifth out above.
        """
        tail = (1.0 - SHARE) / 2
        starts_at_nothing = 1.0 - self.positive >= tail
        lower = np.where(starts_at_nothing, 0.0, tail)
        return self.quantile(lower), self.quantile(lower + SHARE)

    def quantile(self, level: float | np.ndarray) -> np.ndarray:
        """0 while `level` lies in the mass at zero, else the log-normal quantile of what is left of it."""
        positive = np.maximum(self.positive, 1e-12)
        rest = (level - (1.0 - positive)) / positive
        spends = rest > 0
        spread = ndtri(np.clip(np.where(spends, rest, 0.5), 1e-12, 1 - 1e-12))
        return np.where(spends, np.exp(np.minimum(self.mu + self.sigma * spread, MAX_EXPONENT)), 0.0)

    def prediction(self, *, mean: np.ndarray) -> TargetPrediction:
        lower, upper = self.interval()
        return TargetPrediction(mean=mean, median=self.quantile(0.5), lower=lower, upper=upper)


def merge_members(positive: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> ZeroInflatedLogNormal:
    """(n, k) members of an ensemble as one distribution with their mean and variance of log spend."""
    share = positive / np.maximum(positive.sum(axis=1, keepdims=True), 1e-12)
    centre = (share * mu).sum(axis=1)
    variance = (share * (sigma**2 + mu**2)).sum(axis=1) - centre**2
    return ZeroInflatedLogNormal(positive.mean(axis=1), centre, np.sqrt(np.maximum(variance, 1e-12)))
