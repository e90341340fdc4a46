"""What a simulation is asked for, checked before anything is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.utils.translation import gettext as _

MAX_CUSTOMERS = 50_000_000
MIN_MONTHS = 3
MAX_MONTHS = 240
HORIZON_DAYS = 90
EARLIEST_END = date(1990, 1, 1)
LATEST_END = date(2200, 1, 1)
# ISO 4217 currencies without a minor unit: prices are whole numbers there.
ZERO_DECIMAL_CURRENCIES = frozenset({"CLP", "ISK", "JPY", "KRW", "PYG", "UGX", "VND", "XAF", "XOF"})


class SimulationError(ValueError):
    """The request makes no sense; the message says what is wrong and what would do."""


@dataclass(frozen=True)
class SimulationConfig:
    """A shop to simulate.

    `end` is exclusive: the files hold events from `months` calendar months before midnight UTC of
    `end` up to, and not including, that midnight. The 90 days after it go to `future.parquet`.
    campaign: whether one is played on that day.
    """

    customers: int
    months: int
    seed: int
    end: date
    currency: str = "GBP"
    sequence_signal: bool = True
    campaign: bool = False

    def __post_init__(self) -> None:
        _require_between("customers", self.customers, 1, MAX_CUSTOMERS)
        _require_between("months", self.months, MIN_MONTHS, MAX_MONTHS)
        _require_between("seed", self.seed, 0, 2**63 - 1)
        if not EARLIEST_END <= self.end <= LATEST_END:
            raise SimulationError(
                _("end must lie between %(first)s and %(last)s, not %(end)s.")
                % {"first": EARLIEST_END, "last": LATEST_END, "end": self.end}
            )
        if not re.fullmatch(r"[A-Z]{3}", self.currency):
            raise SimulationError(
                _("currency must be a three-letter ISO 4217 code such as GBP, not “%(currency)s”.")
                % {"currency": self.currency}
            )

    @property
    def start(self) -> date:
        return months_before(self.end, self.months)

    @property
    def end_at(self) -> datetime:
        return datetime(self.end.year, self.end.month, self.end.day, tzinfo=UTC)

    @property
    def decimals(self) -> int:
        return 0 if self.currency in ZERO_DECIMAL_CURRENCIES else 2


def months_before(day: date, months: int) -> date:
    """The same day of the month `months` earlier, or the last day of that month if it is shorter."""
    index = day.year * 12 + day.month - 1 - months
    year, month = divmod(index, 12)
    following = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    last = (following - timedelta(days=1)).day
    return date(year, month + 1, min(day.day, last))


def _require_between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise SimulationError(
            _("%(name)s must be a whole number from %(low)s to %(high)s, not %(value)s.")
            % {"name": name, "low": f"{low:,}", "high": f"{high:,}", "value": f"{value:,}"}
        )
