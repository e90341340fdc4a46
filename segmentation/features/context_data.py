"""The shop-wide numbers that features lean on, as of one date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

from segmentation.ml.btyd import BGNBDParams, GammaGammaParams

AttributeKind = Literal["number", "boolean", "choice"]

HORIZON_DAYS = 90
MONTHS = 12
NEUTRAL_SEASON = (1.0,) * MONTHS
# Used while a shop is too young to fit its own: the published fit to the CDNOW sample, in weeks (Fader, Hardie,
# Lee 2005), and the shape of spend of the same customers (Fader, Hardie 2013), scaled to the shop's mean order.
PRIOR_PURCHASES = BGNBDParams(r=0.243, alpha=4.414, a=0.793, b=2.426)
PRIOR_SPEND = GammaGammaParams(p=6.25, q=3.74, gamma=15.44)


@dataclass(frozen=True)
class ContextData:
    """Fitted on events before `as_of` alone; JSON-able through `to_json`.

    purchases: order days in weeks. spend: major units an order day. season: sales level of January to December
    beside the year's mean. *_cuts: four borders of fifths. tier_cuts: terciles of positive spend (major units)
    of the last `horizon_days`. attributes: (slug, kind) of the shop's own columns that are features.
    purchases_fitted, season_known: False where the numbers are neutral stand-ins and nothing is promised.
    """

    as_of: date
    time_zone: str = "UTC"
    minor_per_major: int = 100
    horizon_days: int = HORIZON_DAYS
    purchases: BGNBDParams = PRIOR_PURCHASES
    purchases_fitted: bool = False
    spend: GammaGammaParams = PRIOR_SPEND
    spend_fitted: bool = False
    season: tuple[float, ...] = NEUTRAL_SEASON
    season_known: bool = False
    recency_cuts: tuple[float, ...] = ()
    frequency_cuts: tuple[float, ...] = ()
    money_cuts: tuple[float, ...] = ()
    tier_cuts: tuple[float, ...] = ()
    customers: int = 0
    orders: int = 0
    first_day: date | None = None
    last_event_id: int = 0
    attributes: tuple[tuple[str, AttributeKind], ...] = ()

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def season_level(self, first: date, days: int) -> float:
        """Mean sales level of `days` days from `first` on; 1 is an average time of the year."""
        if not self.season_known:
            return 1.0
        months = [(first + timedelta(days=offset)).month for offset in range(days)]
        return sum(self.season[month - 1] for month in months) / days

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        return data | {
            "as_of": self.as_of.isoformat(),
            "first_day": self.first_day and self.first_day.isoformat(),
            "purchases": self.purchases.to_json(),
            "spend": self.spend.to_json(),
            "attributes": [list(item) for item in self.attributes],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values = dict(data)
        lists = ("season", "recency_cuts", "frequency_cuts", "money_cuts", "tier_cuts")
        values |= {name: tuple(values[name]) for name in lists}
        return cls(
            **values
            | {
                "as_of": date.fromisoformat(values["as_of"]),
                "first_day": values["first_day"] and date.fromisoformat(values["first_day"]),
                "purchases": BGNBDParams.from_json(values["purchases"]),
                "spend": GammaGammaParams.from_json(values["spend"]),
                "attributes": tuple((slug, kind) for slug, kind in values["attributes"]),
            }
        )
