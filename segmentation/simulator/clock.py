"""Calendar and operational time: seasons and weekends as a change of clock.

Times are float days since `origin` (midnight UTC). A customer's buying intensity at day t is
`rate * (1 + a * w(t) + b * v(t))` with the season w and the weekend v of mean zero, so the operational
time that has passed is `t + a * W(t) + b * V(t)`, W and V being running sums. A process that is Poisson in
operational time, and moved back by `calendar`, has exactly that intensity.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from .config import HORIZON_DAYS, SimulationConfig
from .parameters import BURN_IN_DAYS

Floats = NDArray[np.float64]
SECONDS_A_DAY = 86_400
# Share of a day's activity in each hour, UTC: quiet nights, a lunch bump, a long evening.
HOURLY = np.array(
    [1, 0.6, 0.4, 0.3, 0.3, 0.5, 1, 2, 3, 4, 5, 5.5, 6, 5.5, 5, 5, 5.2, 6, 7, 8, 8.5, 7.5, 5, 2.5]
)
DAY_QUANTILES = np.concatenate([[0.0], np.cumsum(HOURLY) / HOURLY.sum()])


@dataclass(frozen=True, eq=False)
class Clock:
    origin: date
    start: float
    end: float
    horizon: float
    season_sum: Floats  # W at every midnight from the origin
    weekend_sum: Floats  # V at every midnight from the origin

    @classmethod
    def of(cls, config: SimulationConfig) -> Clock:
        origin = config.start - timedelta(days=BURN_IN_DAYS)
        end = float((config.end - origin).days)
        days = [origin + timedelta(days=index) for index in range(int(end) + HORIZON_DAYS + 1)]
        return cls(
            origin=origin,
            start=float(BURN_IN_DAYS),
            end=end,
            horizon=end + HORIZON_DAYS,
            season_sum=_running_sum(season(np.array([day.timetuple().tm_yday for day in days]))),
            weekend_sum=_running_sum(weekend(np.array([day.weekday() for day in days]))),
        )

    def operational(self, time: Floats, a: Floats, b: Floats) -> Floats:
        """Operational time since the origin at calendar time `time`; all arrays (n,)."""
        day = np.clip(time.astype(np.int64), 0, len(self.season_sum) - 2)
        part = time - day
        season_now = self.season_sum[day] + part * (self.season_sum[day + 1] - self.season_sum[day])
        weekend_now = self.weekend_sum[day] + part * (self.weekend_sum[day + 1] - self.weekend_sum[day])
        return time + a * season_now + b * weekend_now

    def calendar(self, operational: Floats, a: Floats, b: Floats) -> Floats:
        """The inverse of `operational`, exact: bisection over days, then linear within the day."""
        low = np.zeros(len(operational), dtype=np.int64)
        high = np.full(len(operational), len(self.season_sum) - 1, dtype=np.int64)
        while np.any(high - low > 1):
            middle = (low + high) // 2
            below = middle + a * self.season_sum[middle] + b * self.weekend_sum[middle] <= operational
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        at_low = low + a * self.season_sum[low] + b * self.weekend_sum[low]
        at_high = high + a * self.season_sum[high] + b * self.weekend_sum[high]
        return low + (operational - at_low) / (at_high - at_low)

    def seconds(self, time: Floats) -> NDArray[np.int64]:
        """Whole seconds since the origin; the hour follows the shop's day, the order of times is kept."""
        day = np.floor(time)
        hour = np.interp(time - day, DAY_QUANTILES, np.arange(25.0))
        return (day * SECONDS_A_DAY + hour * 3600.0).astype(np.int64)

    def datetimes(self, seconds: NDArray[np.int64]) -> NDArray[np.datetime64]:
        """Naive UTC instants with microseconds, as polars and Arrow store them."""
        return np.datetime64(self.origin, "us") + seconds * np.timedelta64(1_000_000, "us")

    def instant(self, time: float) -> datetime:
        midnight = datetime(self.origin.year, self.origin.month, self.origin.day, tzinfo=UTC)
        return midnight + timedelta(days=time)


def season(day_of_year: NDArray[np.int64]) -> Floats:
    """The Christmas trade: a peak of height one around 5 December, ended by 22 December; mean zero."""
    return _peak(day_of_year) - _peak(np.arange(1, 366)).mean()


def weekend(weekday: NDArray[np.int64]) -> Floats:
    """+2.5 on Saturday and Sunday, -1 on working days: mean zero over a week."""
    return np.where(weekday >= 5, 2.5, -1.0)


def _peak(day_of_year: NDArray[np.int64]) -> Floats:
    height = np.exp(-0.5 * ((day_of_year - 339) / 17.0) ** 2)
    return np.where(day_of_year > 356, 0.25 * height, height)


def _running_sum(daily: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(daily)])
