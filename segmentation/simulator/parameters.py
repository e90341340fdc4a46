"""The coefficients of the generative model; docs/simulator.md gives the formulas they enter.

`Effects` are added on the scale named beside each field. Zero means "no difference".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Effects:
    rate: float = 0.0  # log of orders a day
    dropout: float = 0.0  # logit of the probability of stopping after an order
    spend: float = 0.0  # log of the mean order value
    season: float = 0.0  # added to the amplitude of the November-December peak
    weekend: float = 0.0  # added to the amplitude of the weekend pattern
    browsing: float = 0.0  # log of browsing sessions a day
    returns: float = 0.0  # logit of the probability that a line is returned
    satisfaction: float = 0.0  # satisfaction points
    novelty: float = 0.0  # probability of choosing among the newest products
    discount: float = 0.0  # probability that an order is bought at a discount
    lines: float = 0.0  # expected lines beyond the first
    never: float = 0.0  # probability of registering and never ordering
    reviewing: float = 0.0  # logit of the probability of reviewing an order


EFFECT_NAMES: tuple[str, ...] = tuple(field.name for field in fields(Effects))


@dataclass(frozen=True)
class Level:
    """One value of a profile attribute: how common it is, what it does, whom it attracts."""

    share: float
    effects: Effects = Effects()
    types: Mapping[str, float] | None = None  # log-odds added to shopper types


BASE = Effects(
    rate=-4.2,
    dropout=-1.85,
    spend=3.42,
    season=0.9,
    weekend=0.12,
    browsing=-4.45,
    returns=-3.3,
    satisfaction=0.25,
    novelty=0.06,
    discount=0.15,
    lines=0.75,
    never=0.03,
    reviewing=-1.75,
)

COUNTRIES: dict[str, Level] = {
    "GB": Level(0.58),
    "DE": Level(0.12, Effects(spend=0.06, returns=0.55, dropout=0.1), {"returner": 0.6}),
    "FR": Level(0.09, Effects(rate=-0.1, spend=0.04)),
    "IE": Level(0.07, Effects(rate=0.06, dropout=-0.1)),
    "US": Level(0.09, Effects(rate=-0.15, spend=0.18, dropout=0.2), {"fraud_suspect": 0.5}),
    "CA": Level(0.05, Effects(rate=-0.1, spend=0.1)),
}

CHANNELS: dict[str, Level] = {
    "organic_search": Level(0.3),
    "paid_search": Level(0.22, Effects(dropout=0.35), {"bargain_hunter": 0.5, "fraud_suspect": 0.5}),
    "social": Level(
        0.18,
        Effects(rate=0.05, dropout=0.35, spend=-0.1, browsing=0.2),
        {"trend_seeker": 0.9, "window_shopper": 0.4, "lapsed_enthusiast": 0.3},
    ),
    "referral": Level(0.13, Effects(rate=0.2, dropout=-0.5, satisfaction=0.2), {"loyal_regular": 0.5}),
    "newsletter": Level(0.12, Effects(rate=0.15, dropout=-0.25), {"loyal_regular": 0.3, "gift_shopper": 0.2}),
    "marketplace": Level(0.05, Effects(rate=-0.2, dropout=0.5, browsing=-0.4), {"bulk_buyer": 0.7}),
}

AGE_BANDS: dict[str, Level] = {
    "18-24": Level(0.13, Effects(spend=-0.25, browsing=0.3), {"trend_seeker": 0.6, "window_shopper": 0.4}),
    "25-34": Level(0.24, Effects(spend=-0.05, browsing=0.1), {"trend_seeker": 0.3}),
    "35-49": Level(0.31, Effects(spend=0.1, rate=0.08), {"weekend_shopper": 0.3}),
    "50-64": Level(0.21, Effects(spend=0.12, rate=0.05, dropout=-0.1), {"loyal_regular": 0.2}),
    "65+": Level(0.11, Effects(dropout=-0.15, browsing=-0.3), {"gift_shopper": 0.5, "weekend_shopper": -0.6}),
}
AGE_LIMITS: dict[str, tuple[int, int]] = {
    "18-24": (18, 25),
    "25-34": (25, 35),
    "35-49": (35, 50),
    "50-64": (50, 65),
    "65+": (65, 88),
}

NEWSLETTERS: dict[str, Level] = {
    "none": Level(0.38, Effects(rate=-0.1, dropout=0.15)),
    "monthly": Level(0.34),
    "weekly": Level(
        0.28, Effects(rate=0.2, dropout=-0.2, discount=0.06), {"bargain_hunter": 0.4, "loyal_regular": 0.3}
    ),
}

HOUSEHOLDS: dict[str, Level] = {
    "1": Level(0.29, Effects(spend=-0.1, lines=-0.15)),
    "2": Level(0.36),
    "3": Level(0.16, Effects(spend=0.06, lines=0.1)),
    "4": Level(0.13, Effects(spend=0.12, lines=0.25), {"weekend_shopper": 0.3}),
    "5": Level(0.06, Effects(spend=0.16, lines=0.35), {"bulk_buyer": 0.3}),
}

# The ten classes of `shopper_type`: what kind of shopper somebody is, fixed from the start.
SHOPPER_TYPES: dict[str, Level] = {
    "loyal_regular": Level(
        0.16,
        Effects(rate=0.6, dropout=-1.4, spend=0.15, satisfaction=0.45, season=-0.4, reviewing=0.3),
    ),
    "bargain_hunter": Level(
        0.16, Effects(rate=0.1, dropout=0.1, spend=-0.4, discount=0.6, browsing=0.3, satisfaction=-0.1)
    ),
    "gift_shopper": Level(
        0.14, Effects(rate=-0.75, dropout=-0.5, spend=0.2, season=5.5, lines=0.5, weekend=-0.05)
    ),
    "trend_seeker": Level(0.1, Effects(rate=0.2, dropout=0.15, novelty=0.65, browsing=0.45, reviewing=0.5)),
    "bulk_buyer": Level(0.06, Effects(rate=-0.3, dropout=-0.7, spend=1.35, lines=0.8, discount=0.1)),
    "window_shopper": Level(0.14, Effects(rate=-0.9, dropout=0.5, spend=-0.25, browsing=1.0, never=0.27)),
    "returner": Level(0.08, Effects(rate=0.3, dropout=0.1, spend=0.2, returns=2.3, satisfaction=-0.45)),
    "weekend_shopper": Level(0.09, Effects(dropout=-0.2, weekend=0.75)),
    "lapsed_enthusiast": Level(
        0.062, Effects(rate=1.5, dropout=0.65, spend=0.1, satisfaction=-0.5, browsing=0.4, reviewing=0.3)
    ),
    "fraud_suspect": Level(
        0.008,
        Effects(rate=4.2, dropout=0.1, spend=1.7, returns=3.6, satisfaction=-2.2, season=-0.8, browsing=-0.5),
    ),
}
FRAUD = "fraud_suspect"
BULK = "bulk_buyer"

# One pound of the model in minor units of the shop's currency; one without minor units (the yen) has prices
# about a hundred times as high, so the number is the same.
MINOR_PER_POUND = 100.0

# Individual differences on top of the profile.
RATE_SHAPE = 1.6  # gamma shape of the buying rate (mean one)
DROPOUT_PRECISION = 9.0  # alpha + beta of the beta-distributed dropout probability
SPEND_SHAPE = 3.0  # Gamma-Gamma p: shape of one order's value around the customer's mean
SPEND_HETEROGENEITY = 4.5  # Gamma-Gamma q: shape of the gamma-distributed rate of spend
BROWSING_SHAPE = 1.5
SATISFACTION_SD = 0.6
DROPOUT_PER_SATISFACTION = -0.35  # logit of dropout per point of lasting satisfaction
RETURNS_SD = 0.5

# One order's experience: what lets it please or disappoint.
EXPERIENCE_SD = 0.75
PROBLEM_SHARE = 0.08
PROBLEM_COST = 1.8
DROPOUT_PER_EXPERIENCE = -0.7

LABELLED_SHARE = 0.6
GUEST_SHARE = 0.06  # guest orders per customer
JOINED_BEFORE_SHARE = 0.22
BURN_IN_DAYS = 540
SIGN_UP_AT_CHECKOUT = 0.55
FIRST_ORDER_DELAY_DAYS = 18.0


def effects_matrix(levels: Mapping[str, Level]) -> NDArray[np.float64]:
    """(levels, effects) in the order of `EFFECT_NAMES`."""
    return np.array([astuple(level.effects) for level in levels.values()])


def shares(levels: Mapping[str, Level]) -> NDArray[np.float64]:
    weights = np.array([level.share for level in levels.values()])
    return weights / weights.sum()


def type_log_odds(levels: Mapping[str, Level]) -> NDArray[np.float64]:
    """(levels, shopper types): what each level adds to the log-odds of each type."""
    return np.array(
        [[(level.types or {}).get(name, 0.0) for name in SHOPPER_TYPES] for level in levels.values()]
    )
