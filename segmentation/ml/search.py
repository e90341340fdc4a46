"""Which settings to try next: at random first, then near those that did well and away from those that did not.

The tree-structured Parzen estimator of Bergstra et al. 2011 (Algorithms for Hyper-Parameter Optimization), setting by
setting: candidates are drawn around the better quarter of what was tried, and the one is taken that the better quarter
makes likeliest beside the rest. A proposal depends on the seed and on what was tried alone, so a search can go on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FIRST_AT_RANDOM = 4
CANDIDATES = 24
GOOD_SHARE = 0.25


@dataclass(frozen=True)
class Range:
    """Numbers between low and high; `log` where their ratio counts, `whole` where they are counts."""

    low: float
    high: float
    log: bool = True
    whole: bool = False

    def at(self, share: float) -> float:
        share = min(max(share, 0.0), 1.0)
        if self.log:
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        return round(value) if self.whole else float(f"{value:.4g}")

    def share(self, value: float) -> float:
        if self.log:
            return math.log(max(value, 1e-12) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Choice:
    """One of a few values that lie in order."""

    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]

    def share(self, value: Any) -> float:
        held = [tuple(v) if isinstance(v, list | tuple) else v for v in self.values]
        wanted = tuple(value) if isinstance(value, list | tuple) else value
        return (held.index(wanted) + 0.5) / len(self.values)


Space = Mapping[str, Range | Choice]

_NETWORK: dict[str, Range | Choice] = {
    "learning_rate": Range(5e-4, 1e-2),
    "weight_decay": Range(1e-4, 3e-2),
    "dropout": Range(0.0, 0.4, log=False),
    "batch_size": Choice((256, 512, 1024)),
}
_EVENTS: dict[str, Range | Choice] = _NETWORK | {"encoder_width": Choice((32, 64, 96))}
SPACES: dict[str, Space] = {
    "random_forest": {"forest_leaf": Range(5, 80, whole=True)},
    "lightgbm": {
        "boosting_rate": Range(0.03, 0.15),
        "boosting_leaves": Range(6, 40, whole=True),
        "boosting_leaf_rows": Range(15, 150, whole=True),
    },
    "mlp": _NETWORK | {"hidden": Choice(((128, 64), (256, 128), (384, 192)))},
    "tabm": _NETWORK | {"hidden": Choice(((64, 64), (128, 128), (192, 192)))},
    "autoencoder": _NETWORK,
    "ft_transformer": _NETWORK | {"learning_rate": Range(2e-4, 3e-3)},
    "conv": _EVENTS,
    "lstm": _EVENTS,
    "gru": _EVENTS,
    "transformer": _EVENTS,
    "customer_net": _EVENTS | {"hidden": Choice(((64, 64), (128, 128), (192, 192)))},
}


def propose(
    space: Space, tried: Sequence[tuple[Mapping[str, Any], float]], *, number: int, seed: int
) -> dict[str, Any]:
    """The settings of trial `number`; tried: settings and loss of those before it that came to an end."""
    generator = np.random.default_rng([seed, number])
    if len(tried) < FIRST_AT_RANDOM:
        return {name: one.at(float(generator.random())) for name, one in space.items()}
    ordered = [settings for settings, _loss in sorted(tried, key=lambda pair: pair[1])]
    count = max(2, math.ceil(GOOD_SHARE * len(ordered)))
    good, rest = ordered[:count], ordered[count:]
    return {name: _likely(name, one, good, rest, generator) for name, one in space.items()}


def _likely(
    name: str,
    one: Range | Choice,
    good: Sequence[Mapping[str, Any]],
    rest: Sequence[Mapping[str, Any]],
    generator: np.random.Generator,
) -> Any:
    near = np.array([one.share(settings[name]) for settings in good])
    far = np.array([one.share(settings[name]) for settings in rest])
    width = max(0.5 / math.sqrt(len(near)), 0.1)
    centres = near[generator.integers(0, len(near), CANDIDATES)]
    drawn = np.clip(centres + width * generator.normal(size=CANDIDATES), 0.0, 1.0)
    worth = np.log(_density(drawn, near, width)) - np.log(_density(drawn, far, width))
    return one.at(float(drawn[int(np.argmax(worth))]))


def _density(at: np.ndarray, around: np.ndarray, width: float) -> np.ndarray:
    """Of bumps around what was tried, and of an even share of everything, which keeps the rest possible."""
    bumps = (
        np.exp(-0.5 * ((at[:, None] - around) / width) ** 2) / width
        if len(around)
        else np.zeros((len(at), 0))
    )
    return (1.0 + bumps.sum(axis=1)) / (1.0 + len(around))
