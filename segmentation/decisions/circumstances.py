"""What a decision depends on besides the customer's values: triggers, hours, what they had before, suppression.

Read only as far as something in the policy asks for it: a policy without any of this reads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from django.db.models import Q

from segmentation import bulk, in_force
from segmentation.decisions import again, hours, triggers
from segmentation.decisions.codes import AT_THE_END, BY_CIRCUMSTANCE, Verdict
from segmentation.decisions.policy import Policy
from segmentation.decisions.terms import Cap, ReEntry, Trigger
from segmentation.features.days import EPOCH_INSTANT, day_number, local_days
from segmentation.models import Customer, Grant, Shop, Suppression
from segmentation.stages import stage

GRANTS: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "row": pl.Int64,
    "id": pl.Int64,
    "campaign_id": pl.Int64,
    "offer_id": pl.Int64,
    "channel": pl.String,
    "is_counted": pl.Boolean,
    "granted_at": pl.Datetime("us", "UTC"),
    "triggered_at": pl.Datetime("us", "UTC"),
    "valid_until": pl.Date,
    "is_open": pl.Boolean,
}
NEVER_OPENS: Final = np.iinfo(np.int64).max
OF_CANDIDATE: Final = ("campaign_id", "offer_id")
_READ: Final = (
    "customer_id",
    "pk",
    "campaign_id",
    "offer_id",
    "channel",
    "is_counted",
    "granted_at",
    "triggered_at",
    "valid_until",
    "ended_at",
)


@dataclass(frozen=True)
class Circumstances:
    """For n rows and a policy's candidates, in their order.

    held: (n, candidates) who has this very offer from this campaign, still valid. grants: every grant of these
    people, `row` by row. told: codes of an earlier decision that are taken as they were (a replay).
    """

    policy: Policy
    today: date
    at: datetime
    height: int
    shop_zone: ZoneInfo
    held: np.ndarray
    grants: pl.DataFrame
    zones: Sequence[ZoneInfo] = ()
    zone_of: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    moments: Mapping[int, np.ndarray] = field(default_factory=dict)
    denied: Mapping[str, np.ndarray] = field(default_factory=dict)
    told: np.ndarray | None = None

    def untriggered(self, index: int) -> np.ndarray | None:
        campaign = self.policy.candidates[index].campaign
        if self.told is not None:
            return self.told[:, index] == Verdict.NOT_TRIGGERED
        if campaign.trigger == Trigger.ALWAYS:
            return None
        return ~self._fresh(campaign.id) & ~self._has(campaign.id)

    def renewable(self, index: int) -> np.ndarray:
        """(n,) who has the offer and was triggered again, where each trigger gives it anew."""
        campaign = self.policy.candidates[index].campaign
        if campaign.trigger == Trigger.ALWAYS or campaign.re_entry != ReEntry.EVENT or self.told is not None:
            return np.zeros(self.height, dtype=bool)
        return self._fresh(campaign.id)

    def retold(self, index: int, verdict: Verdict) -> np.ndarray | None:
        """(n,) where a replayed decision said so."""
        return None if self.told is None else self.told[:, index] == verdict

    def suppressed(self, channel: str) -> np.ndarray | None:
        found: list[np.ndarray] = [mask for name, mask in self.denied.items() if name in {"", channel}]
        return np.asarray(np.column_stack(found).any(axis=1)) if found else None

    def waiting(self, index: int) -> np.ndarray | None:
        """(n,) who had the campaign and does not have it now, for so long as it must not come again."""
        campaign = self.policy.candidates[index].campaign
        if not campaign.waits or self.grants.is_empty():
            return None
        last = self.grants.filter(campaign_id=campaign.id).group_by("row").agg(pl.col("granted_at").max())
        out = np.zeros(self.height, dtype=bool)
        days = last["granted_at"].dt.convert_time_zone(self.shop_zone.key).dt.date()
        early = (days + timedelta(days=campaign.wait_days)) > self.today
        out[last["row"].to_numpy()] = early.to_numpy()
        return out & ~self._has(campaign.id)

    def spent(self, index: int) -> np.ndarray | None:
        """(n,) who had this offer as often as one customer may."""
        offer = self.policy.candidates[index].offer
        if offer.limit_per_customer is None or self.grants.is_empty():
            return None
        count = self._counted(self.grants.filter(offer_id=offer.id))
        return (count >= offer.limit_per_customer) & ~self.held[:, index]

    def outside(self, index: int) -> np.ndarray | None:
        campaign = self.policy.candidates[index].campaign
        if not campaign.has_window or self.told is not None:
            return None
        return hours.outside(campaign, self.zones, self.zone_of, self.at) & ~self.held[:, index]

    @cached_property
    def _given(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of each grant: its row, when it was given (microseconds), whether caps count it, its channel."""
        at = self.grants["granted_at"].to_numpy().astype("datetime64[us]").astype(np.int64)
        counted, channel = self.grants["is_counted"].to_numpy(), self.grants["channel"].to_numpy()
        return self.grants["row"].to_numpy(), at, counted, channel

    def used(self, cap: Cap) -> np.ndarray:
        """(n,) what these people had within the cap's days, by their own calendar."""
        if self.grants.is_empty():
            return np.zeros(self.height, dtype=np.int64)
        row, at, counted, channel = self._given
        recent = counted & (at > _microseconds(self.at - timedelta(days=cap.days + 1)))
        if cap.channel:
            recent &= channel == cap.channel
        row, at = row[recent], at[recent]
        inside = np.zeros(len(row), dtype=bool)
        for number, zone in enumerate(self.zones):
            own = self.zone_of[row] == number
            first = self.at.astimezone(zone).date() - timedelta(days=cap.days - 1)
            inside[own] = local_days(at[own], zone) >= day_number(first)
        return np.bincount(row[inside], minlength=self.height)

    def remembered(self, index: int, rows: np.ndarray) -> np.ndarray:
        """(n,) the code that a replayed decision ended with at caps and limits, 0 elsewhere."""
        if self.told is None:
            return np.zeros(self.height, dtype=np.uint8)
        return np.where(rows & np.isin(self.told[:, index], AT_THE_END), self.told[:, index], 0).astype(
            np.uint8
        )

    def openings(self, ids: Sequence[int], codes: np.ndarray) -> pl.DataFrame:
        """again.MOMENTS: when the first hours begin of whom nothing but the hour kept from a campaign."""
        first = np.full(self.height, NEVER_OPENS, dtype=np.int64)
        for index, candidate in enumerate(self.policy.candidates):
            shut = codes[:, index] == Verdict.OUTSIDE_HOURS
            if not shut.any():
                continue
            places, of_row = np.unique(self.zone_of[shut], return_inverse=True)
            opens = [
                hours.next_opening(candidate.campaign, self.at.astimezone(self.zones[n]))
                for n in places.tolist()
            ]
            begins = np.array([_microseconds(moment) for moment in opens], dtype=np.int64)
            first[shut] = np.minimum(first[shut], begins[of_row])
        rows = np.flatnonzero(first < NEVER_OPENS)
        moments = pl.Series("at", first[rows]).cast(again.MOMENTS["at"])
        return pl.DataFrame([pl.Series("customer_id", np.asarray(ids, dtype=np.int64)[rows]), moments])

    def trigger_moment(self, campaign_id: int) -> np.ndarray | None:
        return self.moments.get(campaign_id)

    def _counted(self, grants: pl.DataFrame) -> np.ndarray:
        return np.bincount(grants["row"].to_numpy(), minlength=self.height)

    def _has(self, campaign_id: int) -> np.ndarray:
        own = [i for i, c in enumerate(self.policy.candidates) if c.campaign.id == campaign_id]
        return np.asarray(self.held[:, own].any(axis=1))

    def _fresh(self, campaign_id: int) -> np.ndarray:
        """(n,) who was triggered since the campaign last gave them something."""
        moments = self.moments[campaign_id]
        last = np.full(self.height, triggers.NEVER)
        rows = self.grants.filter(
            (pl.col("campaign_id") == campaign_id) & pl.col("triggered_at").is_not_null()
        )
        newest = rows.group_by("row").agg(pl.col("triggered_at").max())
        last[newest["row"].to_numpy()] = newest["triggered_at"].dt.replace_time_zone(None).to_numpy()
        return ~np.isnat(moments) & (np.isnat(last) | (moments > last))


def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH_INSTANT) // timedelta(microseconds=1)


@stage("circumstances")
def read(
    ids: Sequence[int],
    policy: Policy,
    *,
    shop: Shop,
    today: date,
    now: datetime,
    cause: int,
    is_past: bool = False,
    zone_names: Sequence[str] | None = None,
) -> Circumstances | None:
    """What counts for these customers now; None where the policy asks for nothing of it and nobody is suppressed.

    is_past: a day gone by is tried out: nothing was given before it, and what came later does not count. zone_names:
    the time zones of these customers, where the caller has read them.
    """
    there = frozenset() if is_past else in_force.exceptions()
    denies = "suppressed" in there
    # What campaigns gave that have ended, or are no longer counted, is closed by the next decision.
    counts = bool(policy.counted) or "granted" in there
    if not counts and not denies:
        return None
    at = hours.moment(shop, today, now)
    rows = rows_of(ids)
    grants = _grants(rows) if counts and not is_past else pl.DataFrame(schema=GRANTS)
    zones, zone_of = (
        _zones(ids, zone_names, shop) if _needs_zones(policy) else ([shop.zone], np.zeros(len(ids), np.int64))
    )
    asked = triggers.Asked(rows, len(ids), today, at, cause, shop.zone, is_past)
    triggered = {c.campaign.id: c.campaign for c in policy.candidates if c.campaign.trigger != Trigger.ALWAYS}
    return Circumstances(
        policy=policy,
        today=today,
        at=at,
        height=len(ids),
        shop_zone=shop.zone,
        held=_held(grants, policy, len(ids), today),
        grants=grants,
        zones=zones,
        zone_of=zone_of,
        moments={key: triggers.moments(terms, asked) for key, terms in triggered.items()},
        denied=_denied(rows, len(ids), today) if denies else {},
    )


def of_decision(policy: Policy, codes: np.ndarray, *, today: date, at: datetime) -> Circumstances:
    """Those of a decision that was made, as far as its codes (1, candidates) tell."""
    count = len(policy.candidates)
    told = np.where(np.isin(codes[:, :count], BY_CIRCUMSTANCE), codes[:, :count], 0)
    held = codes[:, :count] == Verdict.KEPT  # only who has it keeps it
    return Circumstances(
        policy=policy,
        today=today,
        at=at,
        height=len(codes),
        shop_zone=ZoneInfo("UTC"),
        held=held,
        grants=pl.DataFrame(schema=GRANTS),
        told=told.astype(np.uint8),
    )


def rows_of(ids: Sequence[int]) -> dict[int, int]:
    """Row of each customer, and of those who were merged into one: what they had counts for the person."""
    rows = {key: row for row, key in enumerate(ids)}
    merged = bulk.values_in(Customer.objects.all(), ids, "pk", "merged_into_id", by="merged_into_id")
    return rows | {other: rows[survivor] for other, survivor in merged}


def _grants(rows: Mapping[int, int]) -> pl.DataFrame:
    found: list[tuple[Any, ...]] = [
        (rows[key], *rest, ended is None)
        for key, *rest, ended in bulk.values_in(Grant.objects.all(), sorted(rows), *_READ)
    ]
    return pl.DataFrame(found, schema=GRANTS, orient="row")


def _held(grants: pl.DataFrame, policy: Policy, height: int, today: date) -> np.ndarray:
    held = np.zeros((height, len(policy.candidates)), dtype=bool)
    if grants.is_empty():
        return held
    valid = grants.lazy().filter(pl.col("is_open") & (pl.col("valid_until") >= today))
    found = valid.join(policy.places.lazy(), on=list(OF_CANDIDATE)).select("row", "place").collect()
    held[found["row"].to_numpy(), found["place"].to_numpy()] = True
    return held


def _needs_zones(policy: Policy) -> bool:
    return bool(policy.caps) or any(candidate.campaign.has_window for candidate in policy.candidates)


def _zones(ids: Sequence[int], names: Sequence[str] | None, shop: Shop) -> tuple[list[ZoneInfo], np.ndarray]:
    """(the zones of these customers, (n,) which one). names: of their rows, where the caller has read them."""
    if names is None:
        found = dict(bulk.values_in(Customer.objects.all(), ids, "pk", "time_zone", by="pk"))
        names = [found[key] for key in ids]
    known = sorted(set(names))
    place = {name: number for number, name in enumerate(known)}
    zones = [hours.zone(name, shop.time_zone) for name in known]
    return zones, np.array([place[name] for name in names], dtype=np.int64)


def _denied(rows: Mapping[int, int], height: int, today: date) -> dict[str, np.ndarray]:
    """By channel ("" for all): (n,) who is suppressed there."""
    lasting = Suppression.objects.filter(Q(until__isnull=True) | Q(until__gte=today))
    denied: dict[str, np.ndarray] = {}
    for key, channel in bulk.values_in(lasting, sorted(rows), "customer_id", "channel"):
        denied.setdefault(channel, np.zeros(height, dtype=bool))[rows[key]] = True
    return denied
