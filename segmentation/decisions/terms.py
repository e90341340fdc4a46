"""The terms of campaigns, offers and caps as decisions see them, and as a policy document keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, time
from typing import Any, Final

from segmentation.holdouts import Draw
from segmentation.models import Campaign, CampaignRule, FrequencyCap, Offer, Shop

Trigger = Campaign.Trigger
ReEntry = Campaign.ReEntry
_STORED: Final = (
    "id",
    "slug",
    "name",
    "priority",
    "needs_marketing_consent",
    "trigger",
    "trigger_event",
    "trigger_days",
    "schedule_weekdays",
    "schedule_month_day",
    "re_entry",
    "re_entry_days",
    "on_lost",
    "exclusive_group",
    "stacks",
    "channel",
    "ignores_caps",
    "weekdays",
    "choice",
    "budget_minor",
    "floor_ratio",
)
_OFFER: Final = (
    "id",
    "slug",
    "name",
    "kind",
    "value_minor",
    "cost_minor",
    "valid_days",
    "is_active",
    "points",
    "codes",
    "limit_total",
    "limit_per_customer",
    "limit_money_minor",
)
_DAYS: Final = ("starts_on", "ends_on")
# In days. What is stored may say more; a day that no calendar has would stop every decision.
FOR_EVER: Final = 36_500


@dataclass(frozen=True)
class CampaignTerms:
    """A campaign as decisions see it. hours: (from, until) on the customer's clock; weekdays as date.weekday().

    quiet, contact_days: when the shop contacts nobody, and on which days it does at all; they hold for every campaign.
    """

    id: int
    slug: str
    name: str
    draw: Draw | None
    needs_consent: bool
    re_entry_days: int | None
    re_entry: str = ReEntry.ALWAYS
    trigger: str = Trigger.ALWAYS
    trigger_segment: int | None = None
    trigger_event: int | None = None
    trigger_days: int = 1
    schedule_weekdays: tuple[int, ...] = ()
    schedule_month_day: int | None = None
    keeps: bool = False
    exclusive_group: str = ""
    stacks: bool = False
    channel: str = ""
    ignores_caps: bool = False
    hours: tuple[time, time] | None = None
    weekdays: tuple[int, ...] = ()
    quiet: tuple[time, time] | None = None
    contact_days: tuple[int, ...] = ()
    choice: str = Campaign.Choice.ORDER
    budget_minor: int | None = None
    floor_ratio: float | None = None

    @property
    def waits(self) -> bool:
        """Whether a customer who had it must wait, or never gets it again."""
        return self.re_entry in {ReEntry.DAYS, ReEntry.NEVER}

    @property
    def wait_days(self) -> int:
        """Days until it may come again; beyond any life for never."""
        return FOR_EVER if self.re_entry == ReEntry.NEVER else min(self.re_entry_days or 0, FOR_EVER)

    @property
    def has_window(self) -> bool:
        return bool(self.hours or self.weekdays or self.quiet or self.contact_days)

    @property
    def needs_counting(self) -> bool:
        return (
            self.trigger != Trigger.ALWAYS
            or self.keeps
            or self.stacks
            or self.has_window
            or self.budget_minor is not None
            or self.choice != Campaign.Choice.ORDER
        )


@dataclass(frozen=True)
class OfferTerms:
    """An offer as decisions see it."""

    id: int
    slug: str
    name: str
    valid_days: int
    is_active: bool
    cost_minor: int = 0
    from_pool: bool = False
    limit_total: int | None = None
    limit_per_customer: int | None = None
    limit_money_minor: int | None = None
    starts_on: date | None = None
    ends_on: date | None = None

    @property
    def is_limited(self) -> bool:
        """Whether customers compete for it."""
        return self.from_pool or self.limit_total is not None or self.limit_money_minor is not None

    @property
    def needs_counting(self) -> bool:
        return self.is_limited or self.limit_per_customer is not None

    def is_given_on(self, day: date) -> bool:
        return (self.starts_on or day) <= day <= (self.ends_on or day)


@dataclass(frozen=True)
class Worth:
    """What a rule's offer brings: how much likelier a purchase becomes and what one earns; its record so far."""

    uplift: float | None = None
    uplift_field: str = ""
    margin_minor: int = 0
    tried: int = 0
    succeeded: int = 0


@dataclass(frozen=True)
class Cap:
    """At most so many offers within so many of the customer's calendar days; of one channel, or of all."""

    id: int
    name: str
    channel: str
    most: int
    days: int

    def covers(self, campaign: CampaignTerms) -> bool:
        return not campaign.ignores_caps and self.channel in {"", campaign.channel}


def of_campaign(campaign: Campaign) -> dict[str, Any]:
    return {
        **{name: getattr(campaign, name) for name in _STORED},
        "trigger_segment": campaign.trigger_segment_id,
        "hours": _span(campaign.hours_from, campaign.hours_to),
    }


def of_contact(shop: Shop) -> dict[str, Any]:
    """When the shop contacts nobody; empty without such hours and days."""
    quiet, days = _span(shop.quiet_from, shop.quiet_to), sorted(shop.contact_days)
    return ({"quiet": quiet} if quiet else {}) | ({"days": days} if days else {})


def _span(start: time | None, end: time | None) -> list[str] | None:
    return None if start is None or end is None else [f"{start:%H:%M}", f"{end:%H:%M}"]


def _read_span(stored: Any) -> Any:
    return tuple(map(time.fromisoformat, stored)) if stored else None


def read_campaign(
    stored: Mapping[str, Any], draw: Draw | None, contact: Mapping[str, Any] | None = None
) -> CampaignTerms:
    """From a policy document of any format; what an older one does not say has its default.

    contact: of the shop (`of_contact`).
    """
    shop = contact or {}
    given: dict[str, Any] = {
        field.name: stored[field.name] for field in fields(CampaignTerms) if field.name in stored
    }
    if "re_entry" not in given:
        given["re_entry"] = ReEntry.ALWAYS if given["re_entry_days"] is None else ReEntry.DAYS
    return CampaignTerms(
        **given
        | {
            "draw": draw,
            "needs_consent": stored["needs_marketing_consent"],
            "keeps": stored.get("on_lost") == Campaign.Lost.KEEP,
            "hours": _read_span(stored.get("hours")),
            "quiet": _read_span(shop.get("quiet")),
            "contact_days": tuple(shop.get("days", ())),
            "weekdays": tuple(stored.get("weekdays", ())),
            "schedule_weekdays": tuple(stored.get("schedule_weekdays", ())),
        }
    )


def of_offer(offer: Offer) -> dict[str, Any]:
    percentage = None if offer.percentage is None else f"{offer.percentage.normalize():f}"
    days = {name: day and day.isoformat() for name in _DAYS for day in [getattr(offer, name)]}
    return {**{name: getattr(offer, name) for name in _OFFER}, **days, "percentage": percentage}


def read_offer(stored: Mapping[str, Any]) -> OfferTerms:
    given = {field.name: stored[field.name] for field in fields(OfferTerms) if field.name in stored}
    for name in _DAYS:
        given[name] = date.fromisoformat(stored[name]) if stored.get(name) else None
    given["valid_days"] = min(given["valid_days"], FOR_EVER)
    return OfferTerms(**given | {"from_pool": stored.get("codes") == Offer.Codes.POOL})


def of_worth(rule: CampaignRule) -> dict[str, Any]:
    return {field.name: getattr(rule, field.name) for field in fields(Worth)}


def read_worth(stored: Mapping[str, Any]) -> Worth:
    return Worth(**{field.name: stored[field.name] for field in fields(Worth) if field.name in stored})


def of_cap(cap: FrequencyCap) -> dict[str, Any]:
    return {"id": cap.pk, "name": cap.name, "channel": cap.channel, "most": cap.most, "days": cap.days}
