"""Buy till you die: BG/NBD for orders, Gamma-Gamma for spend per order.

Sources: Fader, Hardie, Lee (2005), "Counting your customers" the easy way, Marketing Science 24(2);
Fader, Hardie (2013), The Gamma-Gamma model of monetary value (brucehardie.com/notes/025).
`frequency` counts repeat orders, `recency` is the time from first to last order, `age` (T) the time from
first order to now; all times and the horizon share one unit (weeks keep alpha near one digit).
Posteriors need numpy and scipy only, since they run for every changed customer; fitting imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from scipy.special import hyp2f1

from segmentation.ml.schema import NotEnoughData
from segmentation.ml.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor

MIN_CUSTOMERS = 20
MIN_REPEATERS = 5
# Keeps parameters finite where the data say nothing about them; far below three digits elsewhere.
RIDGE = 1e-7
# Of a log-parameter: where every order costs the same, the likelihood grows without end and its digits are used up.
MOST = 15.0
# The closed form divides by a - 1 and a + b - 1; next to the pole it is continuous, so step aside.
POLE = 1e-6
LARGEST_A = 50.0


@dataclass(frozen=True)
class BGNBDParams:
    """Order rate ~ Gamma(r, alpha); chance to stop after an order ~ Beta(a, b)."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float | None = None

    def to_json(self) -> dict[str, float | None]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True)
class GammaGammaParams:
    """Spend per order ~ Gamma(p, nu), nu ~ Gamma(q, gamma); q > 1, so the mean spend is finite."""

    p: float
    q: float
    gamma: float
    log_likelihood: float | None = None

    def to_json(self) -> dict[str, float | None]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)

    @property
    def mean_spend(self) -> float:
        return self.p * self.gamma / (self.q - 1)


def fit_bgnbd(
    frequency: ArrayLike, recency: ArrayLike, age: ArrayLike, weights: ArrayLike | None = None
) -> BGNBDParams:
    """Maximum likelihood over customers; equal rows are merged first, so large shops stay quick."""
    (x, t, age_), weight = _merged((frequency, recency, age), weights)
    _require(customers=weight.sum(), repeaters=weight[x > 0].sum())
    # In units of the mean age every parameter is near 1, where L-BFGS converges in a few steps.
    unit = float(np.average(age_, weights=weight)) or 1.0
    loss = _bgnbd_loss(x, t / unit, age_ / unit, weight)
    theta, value = _minimise(loss, start=(0.0, 0.0, 0.0, 0.0))
    r, alpha, a, b = np.exp(theta)
    # Rescaling time multiplies the density of the repeat orders by unit^-x.
    log_likelihood = -value * weight.sum() - np.log(unit) * float(weight @ x)
    return BGNBDParams(float(r), float(alpha * unit), float(a), float(b), float(log_likelihood))


def fit_gamma_gamma(
    frequency: ArrayLike, monetary: ArrayLike, weights: ArrayLike | None = None
) -> GammaGammaParams:
    """Maximum likelihood over customers; `monetary` is the mean spend of the `frequency` orders.

    Counting all orders rather than repeat orders ranks future value better and uses every customer.
    Customers without an order or with a mean spend that is not positive are left out.
    """
    (x, spend), weight = _merged((frequency, monetary), weights)
    usable = (x > 0) & (spend > 0)
    x, spend, weight = x[usable], spend[usable], weight[usable]
    _require(customers=weight.sum())
    unit = float(np.average(spend, weights=weight))
    loss = _gamma_gamma_loss(x, spend / unit, weight)
    theta, value = _minimise(loss, start=(0.0, 0.0, 0.0))
    p, q, gamma = np.exp(theta)
    log_likelihood = -value * weight.sum() - np.log(unit) * weight.sum()
    return GammaGammaParams(float(p), float(1 + q), float(gamma * unit), float(log_likelihood))


def probability_alive(
    params: BGNBDParams, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike
) -> np.ndarray:
    """(n,) P(still a customer); 1 for everyone without a repeat order, so no churn score by itself."""
    return 1.0 / (1.0 + _odds_gone(params, *_floats(frequency, recency, age)))


def expected_orders(
    params: BGNBDParams, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike, horizon: float
) -> np.ndarray:
    """(n,) expected orders in the next `horizon` (equation 10 of Fader, Hardie, Lee 2005).

    Euler's transformation of the published 2F1 leaves small parameters that do not grow with the
    number of orders, so heavy buyers neither overflow nor lose digits.
    """
    x, t, age_ = _floats(frequency, recency, age)
    # A large a and b mean one drop-out rate for everybody; the same rate with a smaller a keeps the series finite.
    shrink = min(1.0, LARGEST_A / params.a)
    a, b = _off_pole(params.a * shrink, 1.0), params.b * shrink
    c = a + _off_pole(b, 1.0 - a) - 1.0 + x
    z = horizon / (params.alpha + age_ + horizon)
    series = hyp2f1(a + b - 1.0 - params.r, a - 1.0, c, z)
    orders = c / (a - 1.0) * (1.0 - (1.0 - z) ** (a - 1.0) * series)
    return np.maximum(orders / (1.0 + _odds_gone(params, x, t, age_)), 0.0)


def expected_spend(params: GammaGammaParams, frequency: ArrayLike, monetary: ArrayLike) -> np.ndarray:
    """(n,) expected spend per order: the customer's own mean, drawn to the shop's the fewer the orders."""
    x, spend = _floats(frequency, monetary)
    x = np.where((x > 0) & (spend > 0), x, 0.0)
    spend = np.where(x > 0, spend, 0.0)
    return (params.gamma + x * spend) * params.p / (params.p * x + params.q - 1.0)


def _odds_gone(params: BGNBDParams, x: np.ndarray, t: np.ndarray, age: np.ndarray) -> np.ndarray:
    growth = (params.r + x) * (np.log(params.alpha + age) - np.log(params.alpha + t))
    log_odds = np.log(params.a) - np.log(params.b + np.maximum(x, 1.0) - 1.0) + growth
    return np.where(x > 0, np.exp(np.minimum(log_odds, 700.0)), 0.0)


def _off_pole(value: float, pole: float) -> float:
    return pole + POLE if abs(value - pole) < POLE else value


def _floats(*values: ArrayLike) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(value, dtype=np.float64) for value in values)


def _merged(
    columns: tuple[ArrayLike, ...], weights: ArrayLike | None
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Distinct finite rows, sorted, with their summed weights."""
    arrays = _floats(*columns)
    weight = np.ones(len(arrays[0])) if weights is None else np.asarray(weights, dtype=np.float64)
    names = [f"c{index}" for index in range(len(arrays))]
    table = pl.DataFrame({**dict(zip(names, arrays, strict=True)), "weight": weight})
    table = table.filter(pl.all_horizontal(pl.all().is_finite()), pl.col("weight") > 0)
    table = table.sort(names).group_by(names, maintain_order=True).agg(pl.col("weight").sum())
    return tuple(table[name].to_numpy() for name in names), table["weight"].to_numpy()


def _require(*, customers: float, repeaters: float | None = None) -> None:
    missing = {}
    if customers < MIN_CUSTOMERS:
        missing["customers with orders"] = (int(customers), MIN_CUSTOMERS)
    if repeaters is not None and repeaters < MIN_REPEATERS:
        missing["customers with two or more orders"] = (int(repeaters), MIN_REPEATERS)
    if missing:
        raise NotEnoughData(missing)


def _bgnbd_loss(
    x: np.ndarray, t: np.ndarray, age: np.ndarray, weight: np.ndarray
) -> Callable[[Tensor], Tensor]:
    """Mean negative log-likelihood as a function of log (r, alpha, a, b)."""
    import torch

    x_, t_, age_, w = (torch.tensor(v) for v in (x, t, age, weight / weight.sum()))
    repeat = x_ > 0

    def loss(theta: Tensor) -> Tensor:
        r, alpha, a, b = theta.exp()
        alive = -(r + x_) * torch.log(alpha + age_)
        gone = -(r + x_) * torch.log(alpha + t_) + torch.log(a) - torch.log(b + x_.clamp_min(1.0) - 1.0)
        ends = torch.logaddexp(alive, torch.where(repeat, gone, torch.full_like(gone, -torch.inf)))
        rate = torch.lgamma(r + x_) - torch.lgamma(r) + r * torch.log(alpha)
        stays = torch.lgamma(b + x_) - torch.lgamma(b) + torch.lgamma(a + b) - torch.lgamma(a + b + x_)
        return -(w * (rate + stays + ends)).sum()

    return loss


def _gamma_gamma_loss(x: np.ndarray, spend: np.ndarray, weight: np.ndarray) -> Callable[[Tensor], Tensor]:
    """Mean negative log-likelihood as a function of log (p, q - 1, gamma)."""
    import torch

    x_, z, w = (torch.tensor(v) for v in (x, spend, weight / weight.sum()))

    def loss(theta: Tensor) -> Tensor:
        p, excess, gamma = theta.exp()
        q = 1.0 + excess
        shape = p * x_
        constants = torch.lgamma(shape + q) - torch.lgamma(shape) - torch.lgamma(q) + q * torch.log(gamma)
        density = shape * torch.log(x_) + (shape - 1.0) * torch.log(z)
        return -(w * (constants + density - (shape + q) * torch.log(gamma + x_ * z))).sum()

    return loss


def _minimise(loss: Callable[[Tensor], Tensor], *, start: tuple[float, ...]) -> tuple[np.ndarray, float]:
    """L-BFGS in float64 on log-parameters; returns them and the loss without its ridge."""
    import torch

    with one_thread():
        theta = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [theta],
            max_iter=300,
            tolerance_grad=1e-9,
            tolerance_change=1e-14,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            value = loss(theta.clamp(-MOST, MOST)) + RIDGE * (theta**2).sum()
            value.backward()
            return value

        optimiser.step(closure)
        with torch.no_grad():
            found = theta.clamp(-MOST, MOST)
            return found.numpy().copy(), float(loss(found))
