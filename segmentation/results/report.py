"""A campaign's tally as the result that is stored: effects with intervals, whether they are settled, and how long yet.

{"as_of", "window_days", "relevant_percent", "currency", "first", "last" (days on which customers came in),
 "control": "campaign" | "global" | "none", "ended": no more customers come in,
 "arms": {"treated" | "control": {"customers", "waiting"}},
 "left_out" (held out of all campaigns, and so in neither arm), "not_compared" (customers measured who came in while
 nobody was held out, or nobody left in), "given", "delivered" (null: nobody counts deliveries),
 "ordered": {"orders", "revenue"} of those given, "redeemed": see `redeemed`, "margin_of_purchase" (null: not said),
 "outcomes": {outcome: {"plain", "adjusted", "headline", "lasting", "relevant", "detectable", "state", "days"}},
 "segments": [{"slug", "name", "outcomes": as above}]}

An effect is per customer assigned to the offer. Where the share held out was changed, customers are compared with those
who came in under the same draw. "adjusted" is CUPED by the year's spend before. Which of the two is the
headline is fixed: the plain difference for who ordered (its interval holds for small numbers), the adjusted one for
money. A campaign is measured every night, so its state is told by "lasting", the interval that holds at all looks together
(ml/looks.py): "clear" (it leaves out zero), "small" (an effect as large as `relevant`, either way, is left out), "open"
(neither: more data is needed; `days`: about how many more, null when no end is in sight), "unknown".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from django.db.models import Count, Exists, OuterRef, Q, Sum

from segmentation.kinds import EventKind
from segmentation.ml import experiments, looks
from segmentation.ml.experiments import Estimate, Moments
from segmentation.models import Campaign, CampaignRule, Event, EventCode, Redemption, Segment, Shop
from segmentation.results import arms
from segmentation.results.tallies import EVERYBODY, OUTCOMES, Tally

CLEAR, SMALL, OPEN, UNKNOWN = "clear", "small", "open", "unknown"
OF_CAMPAIGN, OF_ALL, NOBODY = "campaign", "global", "none"
_CONTROL: Final = {OF_CAMPAIGN: arms.HELD_OUT, OF_ALL: arms.HELD_OUT_OF_ALL}
# How far back the pace is looked at, and how far ahead it is believed.
PACE_DAYS: Final = 28
MOST_DAYS: Final = 730
# Effects that campaigns are looked at for, as a share of what those held out do. Not what somebody sets on the page: who
# may choose it after having seen the figures may choose what is clear.
SCALE: Final = 0.2
# Fewer customers than this in an arm of a segment are not told apart.
LEAST_IN_SEGMENT: Final = 20


def build(
    tally: Tally,
    campaign: Campaign,
    *,
    shop: Shop,
    as_of: date,
    window_days: int,
    relevant_percent: int,
    delivered: int | None = None,
) -> dict[str, Any]:
    control = control_of(tally)
    held = _CONTROL.get(control, -1)
    asked = Asked(
        tally, held, relevant_percent / 100, window_days, as_of, campaign.status == Campaign.Status.ENDED
    )
    names = dict(Segment.objects.values_list("slug", "name"))
    margin = margin_of_purchase(campaign)
    segments = sorted({segment for segment, *_rest in tally.moments if segment})
    compared = [sum(arm.n for arm in pair) for pair in tally.pairs(held, OUTCOMES[0])]
    return {
        "as_of": as_of.isoformat(),
        "window_days": window_days,
        "relevant_percent": relevant_percent,
        "currency": shop.base_currency,
        "first": tally.first and tally.first.astimezone(shop.zone).date().isoformat(),
        "last": tally.last and tally.last.astimezone(shop.zone).date().isoformat(),
        "control": control,
        "ended": asked.is_over,
        "arms": {"treated": _arm(tally, arms.TREATED), "control": _arm(tally, held)},
        "not_compared": sum(tally.arm(arm).n for arm in (arms.TREATED, held)) - sum(compared),
        "left_out": 0 if control == OF_ALL else _size(tally, arms.HELD_OUT_OF_ALL),
        "given": tally.given,
        "delivered": delivered,
        "ordered": {"orders": tally.orders, "revenue": tally.revenue_minor / shop.minor_per_major},
        "redeemed": redeemed(campaign, shop),
        "margin_of_purchase": margin / shop.minor_per_major if margin else None,
        "outcomes": outcomes(asked, EVERYBODY, with_margin=bool(margin)),
        "segments": [
            {
                "slug": slug,
                "name": names.get(slug, slug),
                "outcomes": outcomes(asked, slug, with_margin=bool(margin)),
            }
            for slug in segments
            if min(tally.arm(which, segment=slug).n for which in (arms.TREATED, held)) >= LEAST_IN_SEGMENT
        ],
    }


class Asked:
    """What an effect is judged by: the control arm, which effect is worth knowing, and the pace of newcomers."""

    def __init__(
        self, tally: Tally, control: int, relevant: float, window_days: int, as_of: date, is_over: bool
    ) -> None:
        self.tally, self.control, self.relevant = tally, control, relevant
        self.window_days, self.as_of, self.is_over = window_days, as_of, is_over

    def days_until(self, rows: float) -> int | None:
        """In how many days the windows of so many customers of both arms are over; None: no end in sight."""
        if not math.isfinite(rows):
            return None
        so_far = 0
        for day, count in sorted(self.tally.entered.items()):
            so_far += count
            if so_far >= rows:
                return self._wait(day)
        pace = self._pace()
        if self.is_over or pace <= 0:
            return None
        days = math.ceil((rows - so_far) / pace) + self.window_days
        return days if days <= MOST_DAYS else None

    def _wait(self, day: date) -> int:
        return max(1, (day + timedelta(days=self.window_days + 1) - self.as_of).days)

    def _pace(self) -> float:
        """Newcomers a day, of late."""
        first = min(self.tally.entered, default=self.as_of)
        begin = max(first, self.as_of - timedelta(days=PACE_DAYS))
        recent = sum(n for day, n in self.tally.entered.items() if day >= begin)
        return recent / max((self.as_of - begin).days, 1)


def control_of(tally: Tally) -> str:
    """The campaign's own holdout; where it has none those held out of all campaigns, who miss the others' as well."""
    for name, arm in _CONTROL.items():
        if _size(tally, arm):
            return name
    return NOBODY


def margin_of_purchase(campaign: Campaign) -> int:
    """What the campaign's rules say a purchase earns, in minor units: their mean; 0 where none says."""
    said = CampaignRule.objects.filter(campaign=campaign, margin_minor__gt=0).values_list(
        "margin_minor", flat=True
    )
    return round(sum(said) / len(said)) if said else 0


def outcomes(asked: Asked, segment: str, *, with_margin: bool) -> dict[str, Any]:
    names = OUTCOMES if with_margin else [name for name in OUTCOMES if name != "margin"]
    return {name: outcome(asked, segment, name) for name in names}


def outcome(asked: Asked, segment: str, name: str) -> dict[str, Any]:
    pairs = asked.tally.pairs(asked.control, name, segment)
    compared = pairs or [_compared(asked, name, segment)]
    found = {way: _estimate(way, name, compared, experiments.LEVEL) for way in ("plain", "adjusted")}
    way = "plain" if name == "conversion" or not found["adjusted"].is_known else "adjusted"
    headline = found[way]
    base = _base(headline)
    relevant, scale = asked.relevant * base, SCALE * base
    lasting = _estimate(way, name, compared, looks.level(headline.standard_error, scale))
    state = state_of(lasting, relevant)
    # Those held out of all campaigns are not among the newcomers that the pace counts.
    counted = headline.treated + (0 if asked.control == arms.HELD_OUT_OF_ALL else headline.control)
    rows = looks.rows_factor(headline, relevant, scale) * counted if state == OPEN else math.nan
    return {
        "plain": told(found["plain"]),
        "adjusted": told(found["adjusted"]),
        "headline": way,
        "lasting": {"low": _finite(lasting.low), "high": _finite(lasting.high)},
        "relevant": _finite(relevant),
        "detectable": _finite(looks.detectable(headline, scale)),
        "state": state,
        # The pace of a segment is not known apart.
        "days": asked.days_until(rows) if state == OPEN and not segment else None,
    }


def _estimate(way: str, name: str, pairs: Sequence[tuple[Moments, Moments]], level: float) -> Estimate:
    if way == "adjusted":
        return experiments.stratified(pairs, level=level)
    if name == "conversion" and len(pairs) == 1:
        hits = [round(arm.y * arm.n) for arm in pairs[0]]
        return experiments.share_difference(hits[0], pairs[0][0].n, hits[1], pairs[0][1].n, level=level)
    plain = [(_unadjusted(one), _unadjusted(other)) for one, other in pairs]
    return experiments.stratified(plain, level=level)


def _unadjusted(arm: Moments) -> Moments:
    return Moments(n=arm.n, y=arm.y, syy=arm.syy)


def _compared(asked: Asked, name: str, segment: str) -> tuple[Moments, Moments]:
    """All there is of each arm; of two arms that no draw parted nothing is told."""
    treated, control = (asked.tally.arm(arm, name, segment) for arm in (arms.TREATED, asked.control))
    return (treated, Moments()) if treated.n and control.n else (treated, control)


def _base(estimate: Estimate) -> float:
    """What those held out do, or what the treated do where they do nothing: effects are told as shares of it."""
    base = estimate.control_mean if estimate.control and estimate.control_mean else estimate.treated_mean
    return abs(base) if math.isfinite(base) else 0.0


def state_of(estimate: Estimate, relevant: float) -> str:
    if not estimate.is_known:
        return UNKNOWN
    if estimate.is_clear:
        return CLEAR
    return SMALL if -relevant < estimate.low and estimate.high < relevant else OPEN


def told(estimate: Estimate) -> dict[str, Any]:
    names = ("value", "low", "high", "treated_mean", "control_mean", "reduction")
    found: dict[str, Any] = {name: _finite(getattr(estimate, name)) for name in names}
    return found | {"treated": estimate.treated, "control": estimate.control}


def redeemed(campaign: Campaign, shop: Shop) -> dict[str, Any]:
    """{"orders", "customers", "discount", "revenue"} of orders with a code that this campaign gave, and "passed_on":
    orders with a code of its offers that nobody had been given. Cancelled orders are none; of an order that a source
    tells anew as it changes, what was told last counts.
    """
    standing = Redemption.objects.filter(event__superseded_at__isnull=True).exclude(_told_anew())
    own = standing.filter(campaign=campaign).aggregate(
        orders=Count("event", distinct=True),
        customers=Count("customer", distinct=True),
        discount=Sum("discount_minor"),
    )
    orders = standing.filter(campaign=campaign).order_by().values("event", "event__amount_minor").distinct()
    offers = CampaignRule.objects.filter(campaign=campaign).values("offer")
    return {
        "orders": own["orders"],
        "customers": own["customers"],
        "discount": (own["discount"] or 0) / shop.minor_per_major,
        "revenue": (orders.aggregate(sum=Sum("event__amount_minor"))["sum"] or 0) / shop.minor_per_major,
        "passed_on": standing.filter(campaign=None, offer__in=offers).aggregate(
            orders=Count("event", distinct=True)
        )["orders"],
    }


def _told_anew() -> Exists:
    """Redemptions whose order was cancelled, or changed since by an event that stands and names codes itself."""
    same = Event.objects.filter(
        customer=OuterRef("event__customer"),
        order_key=OuterRef("event__order_key"),
        superseded_at__isnull=True,
    ).exclude(order_key="")
    later = Q(occurred_at__gt=OuterRef("event__occurred_at")) | Q(
        occurred_at=OuterRef("event__occurred_at"), pk__gt=OuterRef("event")
    )
    changed = Q(kind=EventKind.ORDER_CHANGED) & later & Exists(EventCode.objects.filter(event=OuterRef("pk")))
    return Exists(same.filter(Q(kind=EventKind.ORDER_CANCELLED) | changed))


def _arm(tally: Tally, arm: int) -> Mapping[str, int]:
    return {"customers": tally.arm(arm).n, "waiting": tally.waiting.get(arm, 0)}


def _size(tally: Tally, arm: int) -> int:
    return tally.arm(arm).n + tally.waiting.get(arm, 0)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
