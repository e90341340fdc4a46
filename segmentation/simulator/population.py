"""Who the customers are: profile, shopper type, and the individual parameters that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import parameters as p
from .clock import Clock, Floats
from .parameters import Level
from .streams import BLOCK
from .words import CATEGORIES

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Profile:
    """Level numbers of the profile attributes, each (n,)."""

    country: Ints
    channel: Ints
    age_band: Ints
    newsletter: Ints
    household: Ints
    shopper_type: Ints


@dataclass(frozen=True, eq=False)
class Tastes:
    """What a basket is made of, each (n,). Money in minor units."""

    mean_spend: Floats
    extra_lines: Floats
    discount: Floats  # probability of a discounted order
    novelty: Floats  # probability of choosing a new product
    first_category: Ints
    second_category: Ints
    bulk: Bools


@dataclass(frozen=True, eq=False)
class Population:
    """One block of customers, each array (n,). Rates are per day of operational time."""

    profile: Profile
    tastes: Tastes
    joined: Floats  # days since the clock's origin
    first_order_delay: Floats  # infinite for those who never order
    rate: Floats
    dropout_logit: Floats  # of an order with an ordinary experience
    season: Floats
    weekend: Floats
    browsing: Floats
    return_logit: Floats
    satisfaction: Floats
    review_logit: Floats
    fraud: Bools

    def __len__(self) -> int:
        return len(self.joined)


def draw(rng: np.random.Generator, clock: Clock) -> Population:
    """The customers of one block."""
    profile = draw_profile(rng, BLOCK)
    effect = effects_of(profile)
    never = rng.random(BLOCK) < effect["never"]
    joined = _joined(rng, clock)
    at_checkout = rng.random(BLOCK) < p.SIGN_UP_AT_CHECKOUT
    delay = np.where(at_checkout, 0.0, rng.exponential(p.FIRST_ORDER_DELAY_DAYS, BLOCK))
    satisfaction = effect["satisfaction"] + rng.normal(0, p.SATISFACTION_SD, BLOCK)
    return Population(
        profile=profile,
        tastes=draw_tastes(rng, profile, effect),
        joined=joined,
        first_order_delay=np.where(never, np.inf, delay),
        rate=np.exp(effect["rate"]) * rng.gamma(p.RATE_SHAPE, 1 / p.RATE_SHAPE, BLOCK),
        dropout_logit=_dropout_logit(rng, effect["dropout"], satisfaction),
        weekend=(weekend := np.clip(effect["weekend"] + rng.normal(0, 0.08, BLOCK), 0.0, 0.92)),
        # The intensity 1 + a*w + b*v must stay positive out of season on a working day (w > -0.12).
        season=np.clip(effect["season"] * rng.lognormal(-0.06, 0.35, BLOCK), 0.0, 7.5 * (1 - weekend)),
        browsing=np.exp(effect["browsing"]) * rng.gamma(p.BROWSING_SHAPE, 1 / p.BROWSING_SHAPE, BLOCK),
        return_logit=effect["returns"] + rng.normal(0, p.RETURNS_SD, BLOCK),
        satisfaction=satisfaction,
        review_logit=effect["reviewing"] + rng.normal(0, 0.7, BLOCK),
        fraud=profile.shopper_type == list(p.SHOPPER_TYPES).index(p.FRAUD),
    )


def draw_profile(rng: np.random.Generator, n: int) -> Profile:
    """Attributes by their shares; then the shopper type, more likely where the profile suits it."""
    tables = (p.COUNTRIES, p.CHANNELS, p.AGE_BANDS, p.NEWSLETTERS, p.HOUSEHOLDS)
    levels: list[Ints] = [rng.choice(len(table), n, p=p.shares(table)) for table in tables]
    log_odds = np.log(p.shares(p.SHOPPER_TYPES)) + sum(
        p.type_log_odds(table)[level] for table, level in zip(tables, levels, strict=True)
    )
    country, channel, age_band, newsletter, household = levels
    return Profile(
        country=country,
        channel=channel,
        age_band=age_band,
        newsletter=newsletter,
        household=household,
        # The largest of log-odds plus Gumbel noise is a draw from their softmax.
        shopper_type=np.argmax(log_odds + rng.gumbel(size=log_odds.shape), axis=1),
    )


def effects_of(profile: Profile) -> Mapping[str, Floats]:
    """Base plus the effects of every attribute and of the shopper type, by name, each (n,)."""
    tables: tuple[tuple[Mapping[str, Level], Ints], ...] = (
        (p.COUNTRIES, profile.country),
        (p.CHANNELS, profile.channel),
        (p.AGE_BANDS, profile.age_band),
        (p.NEWSLETTERS, profile.newsletter),
        (p.HOUSEHOLDS, profile.household),
        (p.SHOPPER_TYPES, profile.shopper_type),
    )
    base = p.effects_matrix({"base": Level(1.0, p.BASE)})
    total = base + sum(p.effects_matrix(table)[level] for table, level in tables)
    return {name: total[:, index] for index, name in enumerate(p.EFFECT_NAMES)}


def draw_tastes(rng: np.random.Generator, profile: Profile, effect: Mapping[str, Floats]) -> Tastes:
    n = len(profile.country)
    # Gamma-Gamma: the rate of spend is gamma with shape q, so the mean is inverse gamma; here of mean one.
    q = p.SPEND_HETEROGENEITY
    individual = (q - 1) / rng.gamma(q, 1.0, n)
    first = rng.integers(0, len(CATEGORIES), n)
    return Tastes(
        mean_spend=np.exp(effect["spend"]) * individual * p.MINOR_PER_POUND,
        extra_lines=np.clip(effect["lines"], 0.1, None),
        discount=np.clip(effect["discount"] + rng.normal(0, 0.05, n), 0.0, 0.95),
        novelty=np.clip(effect["novelty"] + rng.normal(0, 0.04, n), 0.0, 0.95),
        first_category=first,
        second_category=(first + rng.integers(1, len(CATEGORIES), n)) % len(CATEGORIES),
        bulk=profile.shopper_type == list(p.SHOPPER_TYPES).index(p.BULK),
    )


def _joined(rng: np.random.Generator, clock: Clock) -> Floats:
    """Some before the window, evenly; the rest in it, at a rate that grows by half from start to end."""
    before = rng.random(BLOCK) < p.JOINED_BEFORE_SHARE
    u = rng.random(BLOCK)
    growing = (np.sqrt(1 + 1.25 * u) - 1) / 0.5  # inverse of (x + x^2/4) / 1.25, density 1 + x/2
    return np.where(before, u * clock.start, clock.start + growing * (clock.end - clock.start))


def _dropout_logit(rng: np.random.Generator, effect: Floats, satisfaction: Floats) -> Floats:
    """Beta-distributed around the profile's mean; happier customers stay longer."""
    mean = 1 / (1 + np.exp(-(effect + p.DROPOUT_PER_SATISFACTION * satisfaction)))
    probability = rng.beta(mean * p.DROPOUT_PRECISION, (1 - mean) * p.DROPOUT_PRECISION)
    probability = np.clip(probability, 0.005, 0.97)
    return np.log(probability / (1 - probability))
