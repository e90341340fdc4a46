"""The log of a campaign that draws: what was first drawn for each customer, with which chance, and what came of it.

One row a customer: the first decision in which the campaign drew something for them, or held them out; also where another
campaign, a cap or a budget kept them from it, for nobody knows whom of those held out these would have kept from it.
Chances come from what was stored with it: the drawn rule's with the offer given, the others' from the records that the
policy of that decision holds, the holdout's from its percentages. Left out is whoever was given something without a draw
(they had it before the campaign drew), was merged away since, or has not been followed long enough.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from segmentation import bulk
from segmentation.batches import batches
from segmentation.decisions import choice
from segmentation.decisions import policy as policies
from segmentation.decisions.codes import GIVEN, Verdict
from segmentation.decisions.policy import Policy
from segmentation.features import store
from segmentation.features.days import midnight
from segmentation.features.orders import ORDER_KINDS, counted_orders
from segmentation.ml.splits import stable_share
from segmentation.models import Campaign, Customer, Decision, Grant, PolicyVersion, Shop

HELD_OUT: Final = (Verdict.HELD_OUT_GLOBAL, Verdict.HELD_OUT_CAMPAIGN)
# Told after the draw, of the rule that was drawn; the campaign's others are NOT_CHOSEN.
DRAWN: Final = (
    *GIVEN,
    Verdict.OUTRANKED,
    Verdict.EXCLUDED,
    Verdict.CAPPED,
    Verdict.BUDGET_GONE,
    Verdict.OFFER_GONE,
    Verdict.NO_CODE,
)
# More customers than this change no figure by more than its interval.
MOST: Final = 50_000
SALT: Final = 211
CHUNK: Final = 2_000
NOTHING: Final = 0
_DECISION: Final = ("customer_id", "pk", "policy_id", "snapshot_id", "as_of", "decided_at", "verdicts")
_GRANT: Final = ("customer_id", "pk", "rule", "propensity")


@dataclass(frozen=True)
class Row:
    """action: place in the log's offers, NOTHING for who was held out. chances: by place."""

    customer_id: int
    policy_id: int
    snapshot_id: int
    day: Any
    moment: datetime
    action: int
    chances: dict[int, float]


@dataclass(frozen=True, eq=False)
class Logged:
    """offers: ids by place, None (nothing at all) first. bought (n,) and spent (n,) minor units, in the horizon.

    left_out: how many customers, by why: "undrawn", "not_over".
    """

    offers: tuple[int | None, ...]
    rows: tuple[Row, ...]
    policies: dict[int, Policy]
    bought: np.ndarray
    spent: np.ndarray
    left_out: Counter[str]
    is_sample: bool

    @property
    def action(self) -> np.ndarray:
        return np.array([row.action for row in self.rows], dtype=np.int64)

    @property
    def chance(self) -> np.ndarray:
        """(n, k)"""
        out = np.zeros((len(self.rows), len(self.offers)))
        for number, row in enumerate(self.rows):
            for place, value in row.chances.items():
                out[number, place] = value
        return out


def read(campaign: Campaign, *, horizon_days: int, shop: Shop) -> Logged:
    stored = {pk: policies.load(content) for pk, content in _policies_with(campaign)}
    offers: tuple[int | None, ...] = (None, *_offers(campaign, stored.values()))
    reader = _Reader(campaign, stored, {offer: place for place, offer in enumerate(offers)}, shop)
    everybody = np.array(
        Customer.objects.filter(merged_into__isnull=True).order_by("pk").values_list("pk", flat=True),
        dtype=np.int64,
    )
    share = min(1.0, MOST / max(len(everybody), 1))
    ids = everybody[stable_share(everybody, salt=SALT) < share] if share < 1 else everybody
    end = midnight(shop.scoring_as_of(), shop.zone)
    horizon = timedelta(days=horizon_days)
    rows: list[Row] = []
    for part in batches(ids.tolist(), CHUNK):
        rows += reader.rows(part)
    over = [row for row in rows if row.moment + horizon <= end]
    reader.left_out["not_over"] += len(rows) - len(over)
    bought, spent = _followed(over, horizon, shop)
    return Logged(
        offers=offers,
        rows=tuple(over),
        policies=stored,
        bought=bought,
        spent=spent,
        left_out=reader.left_out,
        is_sample=share < 1,
    )


class _Reader:
    """Rows of the campaign's customers, a batch at a time."""

    def __init__(
        self, campaign: Campaign, stored: dict[int, Policy], places: dict[int | None, int], shop: Shop
    ) -> None:
        self._campaign = campaign
        self._stored = stored
        self._places = places
        self._shop = shop
        self.left_out: Counter[str] = Counter()

    def rows(self, ids: Sequence[int]) -> Iterator[Row]:
        if not self._stored:
            return
        grants = self._first_grants(ids)
        for customer, decision in self._first_decisions(ids).items():
            row = self._row(customer, decision, grants.get(customer))
            if row is None:
                self.left_out["undrawn"] += 1
            else:
                yield row

    def _first_decisions(self, ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
        """Customer → the first of their decisions in which the campaign drew something or held them out."""
        found: dict[int, tuple[Any, ...]] = {}
        rows = Decision.objects.filter(policy_id__in=list(self._stored))
        for row in sorted(bulk.values_in(rows, ids, *_DECISION), key=lambda row: row[1]):
            if row[0] in found:
                continue
            codes = np.frombuffer(bytes(row[6]), np.uint8)[self._own(row[2])]
            if np.isin(codes, (*DRAWN, *HELD_OUT)).any():
                found[row[0]] = row
        return found

    def _first_grants(self, ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
        found: dict[int, tuple[Any, ...]] = {}
        rows = bulk.values_in(Grant.objects.filter(campaign=self._campaign), ids, *_GRANT)
        for row in sorted(rows, key=lambda row: row[1]):
            found.setdefault(row[0], row)
        return found

    def _own(self, policy_id: int) -> list[int]:
        candidates = self._stored[policy_id].candidates
        return [i for i, one in enumerate(candidates) if one.campaign.id == self._campaign.pk]

    def _row(self, customer: int, decision: tuple[Any, ...], grant: tuple[Any, ...] | None) -> Row | None:
        policy, own = self._stored[decision[2]], self._own(decision[2])
        codes = np.frombuffer(bytes(decision[6]), np.uint8)
        drawn = [index for index in own if codes[index] in DRAWN]
        held_out = _held_out_share(policy, own[0])
        open_ = [index for index in own if codes[index] in (*DRAWN, *HELD_OUT, Verdict.NOT_CHOSEN)]
        chances = self._chances(policy, open_)
        action = NOTHING
        if drawn:
            index = drawn[0]
            had_before = grant is not None and grant[3] is None
            if codes[index] in GIVEN:
                if grant is None or had_before or grant[2] != policy.candidates[index].rule_id:
                    return None
                # What was stored is the last word on the rule that was drawn.
                chances[index] = float(grant[3])
            elif had_before:
                return None
            action = self._places[policy.candidates[index].offer.id]
        by_offer: dict[int, float] = defaultdict(float)
        for index, share in chances.items():
            by_offer[self._places[policy.candidates[index].offer.id]] += share * (1 - held_out)
        if held_out:
            by_offer[NOTHING] = held_out
        moment = min(decision[5], midnight(decision[4], self._shop.zone))
        day = decision[4] - timedelta(days=1)
        return Row(customer, decision[2], decision[3], day, moment, action, dict(by_offer))

    @staticmethod
    def _chances(policy: Policy, open_: Sequence[int]) -> dict[int, float]:
        """Of each open rule, by its place among the candidates."""
        if not open_:
            return {}
        records = tuple(
            (policy.candidates[i].worth.tried, policy.candidates[i].worth.succeeded) for i in open_
        )
        return dict(zip(open_, choice.chances_of(records), strict=True))


def _held_out_share(policy: Policy, index: int) -> float:
    """With which chance anybody is held out of this candidate's campaign."""
    kept = 1.0
    for draw in (policy.global_draw, policy.candidates[index].campaign.draw):
        kept *= 1 - (draw.percent / 100 if draw is not None else 0.0)
    return 1 - kept


def _policies_with(campaign: Campaign) -> Iterator[tuple[int, Any]]:
    """Policy versions in which the campaign drew."""
    for pk, content in PolicyVersion.objects.order_by("pk").values_list("pk", "content").iterator():
        for stored in content["campaigns"]:
            if stored["id"] == campaign.pk and stored.get("choice") == Campaign.Choice.SAMPLING:
                yield pk, content


def _offers(campaign: Campaign, stored: Any) -> list[int]:
    return sorted(
        {one.offer.id for policy in stored for one in policy.candidates if one.campaign.id == campaign.pk}
    )


def _followed(rows: Sequence[Row], horizon: timedelta, shop: Shop) -> tuple[np.ndarray, np.ndarray]:
    """(n,) whether each customer ordered within the horizon of their row, and for how much."""
    bought, spent = np.zeros(len(rows)), np.zeros(len(rows))
    place = {row.customer_id: number for number, row in enumerate(rows)}
    for part in batches(sorted(place), CHUNK):
        events = store.read_events(
            part, as_of=shop.scoring_as_of(), shop=shop, known_only=False, kinds=ORDER_KINDS
        )
        orders = counted_orders(events)
        starts = pl.DataFrame(
            {
                "customer_id": pl.Series(part, dtype=pl.Int64),
                "start": pl.Series([rows[place[key]].moment for key in part]).dt.epoch("us"),
            }
        )
        inside = (
            orders.join(starts, on="customer_id")
            .with_columns(pl.col("occurred_at").dt.epoch("us").alias("at"))
            .filter(
                (pl.col("at") > pl.col("start"))
                & (pl.col("at") <= pl.col("start") + int(horizon.total_seconds() * 1e6))
            )
        )
        sums = inside.group_by("customer_id").agg(pl.len().alias("n"), pl.col("amount_minor").sum())
        for customer, _count, amount in sums.iter_rows():
            bought[place[customer]], spent[place[customer]] = 1.0, float(amount)
    return bought, spent
