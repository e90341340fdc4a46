"""How customers respond to offers: coefficients, and the chance that an offer makes or spoils a purchase.

An offer moves each customer by an index z of what the shop can see (newsletter, age, household, how long they have been
silent) and of what it cannot (taste for discounts, satisfaction, and luck of their own):

    made    = 1 - exp(-GAIN * max(z, 0))    the chance to buy within the window for who would not have bought
    spoiled = 1 - exp(-LOSS * max(-z, 0))   the chance to buy nothing for who would have bought

Who has stopped is moved less. So with p the chance to buy without the offer, it is p (1 - spoiled) + (1 - p) made
with it: sure things have a high p, persuadables a high `made`, lost causes neither, do-not-disturbs are spoiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from . import parameters as p
from .clock import Floats
from .population import Bools, Population

WINDOW_DAYS: Final = 30
GAIN: Final = 0.75
LOSS: Final = 0.9
# What is left of an offer's pull on somebody who has stopped.
STOPPED_PULL: Final = 0.4
SHARED_SD: Final = 0.12  # luck that a customer has with every offer
OWN_SD: Final = 0.08  # and with each one
PERSUADED: Final = 0.03
DISTURBED: Final = -0.01
SURE: Final = 0.5


class Kind(StrEnum):
    SURE_THING = "sure_thing"
    PERSUADABLE = "persuadable"
    LOST_CAUSE = "lost_cause"
    DO_NOT_DISTURB = "do_not_disturb"


@dataclass(frozen=True)
class Offer:
    """`cost`: of each offer given, in pounds of the model. `off`: the share taken off every order of the window.

    base and the rest are added to z: per unit, or per level of a profile attribute.
    """

    cost: float
    off: float
    base: float
    discount: float  # per share of discounted orders, from 0.25
    novelty: float  # per share of new products, from 0.1
    silence: float  # per log of silent days over 30
    satisfaction: float
    levels: Mapping[str, float]


OFFERS: Final[dict[str, Offer]] = {
    "ten_off": Offer(
        cost=0.6, off=0.1, base=0.02, discount=0.9, novelty=0.0, silence=0.24, satisfaction=0.07,
        levels={"weekly": -0.45, "none": 0.2, "18-24": 0.35, "25-34": 0.15, "65+": -0.3},
    ),
    "gift": Offer(
        cost=1.0, off=0.0, base=0.0, discount=-0.1, novelty=0.0, silence=0.12, satisfaction=0.12,
        levels={"50-64": 0.33, "65+": 0.6, "4": 0.33, "5": 0.5, "18-24": -0.3, "weekly": -0.15},
    ),
    "early_access": Offer(
        cost=0.2, off=0.0, base=-0.04, discount=-0.35, novelty=0.6, silence=-0.2, satisfaction=0.1,
        levels={"weekly": 0.38, "none": -0.3, "18-24": 0.22, "1": 0.12},
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pull:
    """Each (n, offers): chances that the offer makes a purchase, and that it spoils one."""

    made: Floats
    spoiled: Floats


def pull(rng: np.random.Generator, people: Population, *, silent: Floats, stopped: Bools) -> Pull:
    """`silent`: (n,) days since the last order. Draws the same numbers whatever the offers' coefficients are."""
    n = len(people)
    shared = rng.normal(0, SHARED_SD, n)
    own = rng.normal(0, OWN_SD, (n, len(OFFERS)))
    index = np.column_stack([_index(offer, people, silent) for offer in OFFERS.values()])
    z = index + shared[:, None] + own
    reach = np.where(stopped, STOPPED_PULL, 1.0)[:, None]
    return Pull(
        made=-np.expm1(-GAIN * np.maximum(z, 0) * reach), spoiled=-np.expm1(-LOSS * np.maximum(-z, 0))
    )


def kinds(without: Floats, with_offer: Floats) -> np.ndarray:
    """Of each customer (n,) for one offer, by how much the chance to buy changes and how high it is without."""
    change = with_offer - without
    calm = np.where(without >= SURE, Kind.SURE_THING, Kind.LOST_CAUSE)
    moved = np.where(change >= PERSUADED, Kind.PERSUADABLE, calm)
    return np.where(change <= DISTURBED, Kind.DO_NOT_DISTURB, moved)


def described() -> dict[str, Any]:
    """Every coefficient, for the manifest."""
    return {
        "window_days": WINDOW_DAYS,
        "gain": GAIN,
        "loss": LOSS,
        "stopped_pull": STOPPED_PULL,
        "shared_sd": SHARED_SD,
        "own_sd": OWN_SD,
        "offers": {name: asdict(offer) for name, offer in OFFERS.items()},
    }


def _index(offer: Offer, people: Population, silent: Floats) -> Floats:
    profile, tastes = people.profile, people.tastes
    total = (
        offer.base
        + offer.discount * (tastes.discount - 0.25)
        + offer.novelty * (tastes.novelty - 0.1)
        + offer.silence * np.clip(np.log((silent + 5) / 35), -1.5, 1.5)
        + offer.satisfaction * people.satisfaction
    )
    tables = (
        (p.NEWSLETTERS, profile.newsletter),
        (p.AGE_BANDS, profile.age_band),
        (p.HOUSEHOLDS, profile.household),
    )
    for table, level in tables:
        total = total + np.array([offer.levels.get(name, 0.0) for name in table])[level]
    return total
