"""Small linear models with their state in arrays: fitted by scikit-learn, applied by numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import softmax

from segmentation.ml.batching import in_fixed_batches
from segmentation.ml.storage import Tensors
from segmentation.ml.ziln import ZeroInflatedLogNormal

# A few hundred rows of one class still give a stable slope at this strength.
INVERSE_RIDGE = 1.0


@dataclass(frozen=True)
class LinearClassifier:
    """Multinomial logistic regression on standardised inputs: x (n, p) -> probabilities (n, k)."""

    centre: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    @classmethod
    def fit(
        cls, x: np.ndarray, labels: np.ndarray, *, classes: int, weights: np.ndarray | None = None
    ) -> Self:
        """weights: (n,) of the rows, equal if not given. Classes absent from `labels` keep a probability near 0."""
        from sklearn.linear_model import LogisticRegression

        centre, spread = _standard(x)
        row_weights = weights
        weights, bias = np.zeros((x.shape[1], classes)), np.full(classes, -20.0)
        present = np.unique(labels.astype(np.int64))
        if len(present) == 1:
            bias[present] = 0.0
            return cls(centre, spread, weights, bias)
        model = LogisticRegression(C=INVERSE_RIDGE, max_iter=300, tol=1e-4)
        model.fit((x - centre) / spread, labels.astype(np.int64), sample_weight=row_weights)
        if len(present) == 2:
            # scikit-learn keeps one row of coefficients for two classes.
            weights[:, present[1]], bias[present] = model.coef_[0], [0.0, model.intercept_[0]]
        else:
            weights[:, present], bias[present] = model.coef_.T, model.intercept_
        return cls(centre, spread, weights, bias)

    def scores(self, x: np.ndarray) -> np.ndarray:
        """(n, k) log-odds up to a constant per row."""
        scaled = (x - self.centre) / self.spread
        return in_fixed_batches(lambda rows: rows @ self.weights + self.bias, scaled)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return softmax(self.scores(x), axis=1)

    def contributions(self, x: np.ndarray, of_class: int = 1) -> np.ndarray:
        """(n, p) share of each input in the log-odds of a class against the mean of the others, from the average row."""
        others = np.delete(self.weights, of_class, axis=1).mean(axis=1)
        return (x - self.centre) / self.spread * (self.weights[:, of_class] - others)

    def state(self) -> dict[str, np.ndarray]:
        return {"centre": self.centre, "spread": self.spread, "weights": self.weights, "bias": self.bias}

    @classmethod
    def from_state(cls, tensors: Tensors) -> Self:
        return cls(**{name: tensors[name] for name in ("centre", "spread", "weights", "bias")})


@dataclass(frozen=True)
class LinearValue:
    """Two-part model of spend: logistic regression of buying, ridge regression of buyers' log spend."""

    buying: LinearClassifier
    weights: np.ndarray
    bias: float
    sigma: float
    largest: float

    @classmethod
    def fit(cls, x: np.ndarray, values: np.ndarray) -> Self:
        from sklearn.linear_model import Ridge

        buying = LinearClassifier.fit(x, (values > 0).astype(np.int64), classes=2)
        spends = values > 0
        scaled = (x[spends] - buying.centre) / buying.spread
        logs = np.log(values[spends])
        model = Ridge(alpha=1.0).fit(scaled, logs)
        sigma = float(np.std(logs - model.predict(scaled))) or 1e-3
        return cls(buying, model.coef_, float(model.intercept_), sigma, float(values.max()))

    def log_spend(self, x: np.ndarray) -> np.ndarray:
        scaled = (x - self.buying.centre) / self.buying.spread
        return in_fixed_batches(lambda rows: rows @ self.weights + self.bias, scaled)

    def distribution(self, x: np.ndarray) -> ZeroInflatedLogNormal:
        mu = self.log_spend(x)
        return ZeroInflatedLogNormal(self.buying.predict(x)[:, 1], mu, np.full(len(mu), self.sigma))

    def contributions(self, x: np.ndarray) -> np.ndarray:
        """(n, p) share of each input in the log of the expected spend, from the average row.

        The log of the chance to buy moves by (1 - chance) per unit of its log-odds.
        """
        rest = self.buying.predict(x)[:, :1]
        of_buyers = (x - self.buying.centre) / self.buying.spread * self.weights
        return rest * self.buying.contributions(x) + of_buyers

    def state(self) -> dict[str, np.ndarray]:
        scalars = np.array([self.bias, self.sigma, self.largest])
        return {**self.buying.state(), "value_weights": self.weights, "scalars": scalars}

    @classmethod
    def from_state(cls, tensors: Tensors) -> Self:
        bias, sigma, largest = (float(value) for value in tensors["scalars"])
        return cls(LinearClassifier.from_state(tensors), tensors["value_weights"], bias, sigma, largest)


def _standard(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = x.std(axis=0)
    return x.mean(axis=0), np.where(spread > 1e-12, spread, 1.0)
