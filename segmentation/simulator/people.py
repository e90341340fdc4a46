"""The customers file: contact data that can reach nobody, consent, labels and the shop's own columns.

E-mail domains are reserved by RFC 2606. Telephone numbers lie in ranges that the regulators keep for
fiction: Ofcom 07700 900xxx, Bundesnetzagentur 030 23125xxx, Arcep 06 39 98 xx xx, ComReg 020 91x xxxx and
NANP 555-01xx.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from . import parameters as p
from .clock import Clock, Floats
from .population import Bools, Ints, Population
from .words import FIRST_NAMES, LAST_NAMES

CUSTOMER_COLUMNS: dict[str, pl.DataType] = {
    "customer_id": pl.String(),
    "email": pl.String(),
    "first_name": pl.String(),
    "last_name": pl.String(),
    "phone": pl.String(),
    "country": pl.String(),
    "channel": pl.String(),
    "signed_up_at": pl.Datetime("us", "UTC"),
    "birthday": pl.Date(),
    "language": pl.String(),
    "marketing_consent": pl.String(),
    "marketing_consent_at": pl.Datetime("us", "UTC"),
    "shopper_type": pl.String(),
    "newsletter_frequency": pl.String(),
    "household_size": pl.Int64(),
}
DOMAINS = ("example.com", "example.org", "example.net")
PHONE_PATTERNS: dict[str, str] = {  # a hash is a free digit
    "GB": "+447700900###",
    "DE": "+493023125###",
    "FR": "+3363998####",
    "IE": "+3532091#####",
    "US": "+120255501##",
    "CA": "+161355501##",
}
LANGUAGES = {"DE": "de", "FR": "fr"}
CONSENTS = ("granted", "denied", "unknown")
CONSENT_SHARES = (0.56, 0.19, 0.25)
BIRTHDAY_SHARE = 0.82
PHONE_SHARE = 0.7
NAME_SHARE = 0.98


def customers_frame(
    rng: np.random.Generator, *, people: Population, ids: pl.Series, first_number: int, clock: Clock
) -> pl.DataFrame:
    """One row for each customer of the block, in order; `first_number` makes e-mail addresses unique."""
    n = len(people)
    first, last = _names(rng, FIRST_NAMES, n), _names(rng, LAST_NAMES, n)
    country = level_names(p.COUNTRIES, people.profile.country)
    named = rng.random(n) < NAME_SHARE
    signed_up = clock.seconds(people.joined)
    consent = rng.choice(len(CONSENTS), n, p=CONSENT_SHARES)
    answered = signed_up + rng.integers(30, 3 * 86_400, n)
    answered = np.where(rng.random(n) < 0.7, signed_up, np.minimum(answered, int(clock.end) * 86_400 - 1))
    labelled = rng.random(n) < p.LABELLED_SHARE
    frame = pl.DataFrame(
        {
            "customer_id": ids,
            "email": _emails(rng, first, last, first_number),
            "first_name": _where(named, first),
            "last_name": _where(named, last),
            "phone": _phones(rng, country),
            "country": country,
            "channel": level_names(p.CHANNELS, people.profile.channel),
            "signed_up_at": clock.datetimes(signed_up),
            "birthday": _birthdays(rng, people.profile.age_band, people.joined, clock),
            "language": [LANGUAGES.get(code, "en") for code in country],
            "marketing_consent": [CONSENTS[index] for index in consent],
            "marketing_consent_at": clock.datetimes(answered),
            "shopper_type": _where(labelled, level_names(p.SHOPPER_TYPES, people.profile.shopper_type)),
            "newsletter_frequency": level_names(p.NEWSLETTERS, people.profile.newsletter),
            "household_size": people.profile.household + 1,
        }
    )
    known = pl.col("marketing_consent") != "unknown"
    return frame.with_columns(
        pl.col("signed_up_at").dt.replace_time_zone("UTC"),
        pl.when(known).then(pl.col("marketing_consent_at").dt.replace_time_zone("UTC")),
    ).cast(CUSTOMER_COLUMNS)  # type: ignore[arg-type]


def level_names(levels: dict[str, p.Level], index: Ints) -> list[str]:
    names = list(levels)
    return [names[number] for number in index.tolist()]


def _names(rng: np.random.Generator, bank: Sequence[str], n: int) -> list[str]:
    return [bank[index] for index in rng.integers(0, len(bank), n).tolist()]


def _where(keep: Bools, values: Sequence[str]) -> list[str | None]:
    return [value if kept else None for kept, value in zip(keep.tolist(), values, strict=True)]


def _emails(
    rng: np.random.Generator, first: Sequence[str], last: Sequence[str], first_number: int
) -> list[str]:
    domains = rng.choice(len(DOMAINS), len(first), p=(0.7, 0.2, 0.1)).tolist()
    return [
        f"{name.lower()}.{surname.lower()}{first_number + index}@{DOMAINS[domain]}"
        for index, (name, surname, domain) in enumerate(zip(first, last, domains, strict=True))
    ]


def _phones(rng: np.random.Generator, countries: Sequence[str]) -> list[str | None]:
    given = (rng.random(len(countries)) < PHONE_SHARE).tolist()
    digits = rng.integers(0, 100_000, len(countries)).tolist()
    return [
        _fill(PHONE_PATTERNS[country], number) if known else None
        for country, number, known in zip(countries, digits, given, strict=True)
    ]


def _fill(pattern: str, number: int) -> str:
    free = pattern.count("#")
    return pattern.rstrip("#") + f"{number % 10**free:0{free}d}"


def _birthdays(rng: np.random.Generator, age_band: Ints, joined: Floats, clock: Clock) -> list[date | None]:
    """Of the age band on the day of signing up; unknown for some."""
    limits = np.array(list(p.AGE_LIMITS.values()))[age_band]
    age = limits[:, 0] + rng.random(len(age_band)) * (limits[:, 1] - limits[:, 0])
    known = rng.random(len(age_band)) < BIRTHDAY_SHARE
    days = np.datetime64(clock.origin, "D") + np.floor(joined - age * 365.2425).astype(np.int64)
    return _dates(days, known)


def _dates(days: np.ndarray, known: Bools) -> list[date | None]:
    return [day if kept else None for day, kept in zip(days.tolist(), known.tolist(), strict=True)]
