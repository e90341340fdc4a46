"""Whom a draft would reach, from stored features and scores: segments, campaigns, priority rules.

Small shops are counted exactly. Large ones by a sample that a hash of the id picks, so the same customers are asked
each time; `margin` is then the half width of the 95 % interval of the count (normal approximation, finite population).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
import polars as pl
from django.db.models import Max, Min
from django.utils import timezone

from segmentation import bulk, campaigns, counts, memberships, rule_columns, segments, stored_frames
from segmentation.batches import batches
from segmentation.decisions import circumstances, re_entry
from segmentation.decisions import policy as policies
from segmentation.decisions.codes import GIVEN
from segmentation.decisions.policy import Policy
from segmentation.decisions.verdicts import Judged, Verdict, judge
from segmentation.models import Campaign, Customer, Decision, Segment, ServicePriorityRule, Shop
from segmentation.previews_beside import NOTHING_BESIDE, Beside, Gathered
from segmentation.rule_columns import NOTHING, Wanted
from segmentation.rules import compile as rules
from segmentation.rules import language
from segmentation.rules.language import Group, Node

EXACT_UP_TO: Final = 20_000
SAMPLE: Final = 10_000
# While somebody types: about 200 ms at 20,000 customers a second (docs/performance.md).
QUICK: Final = 4000
# Counted to the last one when asked for: a few seconds.
EXACT_LATER: Final = 100_000
SHOWN: Final = 10
_CHUNK: Final = 5000
_IDS_AT_ONCE: Final = 1_000_000
_Z95: Final = 1.96
# Knuth's multiplicative hash: spreads consecutive ids evenly over 32 bits.
_HASH, _BITS = 2_654_435_761, 1 << 32


@dataclass(frozen=True)
class Reach:
    """`count` of `total` classified customers fit; sample: (id, reference). margin 0: counted exactly."""

    count: int
    total: int
    share: float
    margin: int
    by_tier: Mapping[str, int]
    sample: tuple[tuple[int, str], ...]
    beside: Beside = NOTHING_BESIDE

    @property
    def is_exact(self) -> bool:
        return self.margin == 0


@dataclass(frozen=True)
class RuleReach:
    """What happens to those who fit one campaign rule. cost_minor: offers given times the offer's cost."""

    rule_id: int
    name: str
    offer: str
    fits: int
    gets: int
    held_out: int
    no_consent: int
    outranked: int
    not_now: int
    not_profiled: int
    cost_minor: int


@dataclass(frozen=True)
class CampaignReach:
    """outranked_by: campaigns that come first, by name. margin: of `gets`."""

    total: int
    gets: int
    margin: int
    cost_minor: int
    rules: tuple[RuleReach, ...]
    outranked_by: Mapping[str, int]


@dataclass(frozen=True)
class PriorityReach:
    """moves: (level before, level after) → customers, where the rule changes the level."""

    total: int
    fits: int
    margin: int
    moves: Mapping[tuple[int, int], int]

    @property
    def changes(self) -> int:
        return sum(self.moves.values())


@dataclass(frozen=True)
class Asked:
    """Customers to look at, and how many they stand for."""

    ids: Sequence[int]
    total: int

    @property
    def looked_at(self) -> int:
        return len(self.ids)

    def scaled(self, count: int) -> int:
        return round(count * self.total / self.looked_at) if self.looked_at else 0

    def margin(self, count: int) -> int:
        if self.looked_at in (0, self.total):
            return 0
        share = count / self.looked_at
        finite = 1 - self.looked_at / self.total
        error = math.sqrt(share * (1 - share) / self.looked_at * finite)
        return max(1, math.ceil(_Z95 * error * self.total))


def reach(
    rule: object = None, *, segment: Segment | None = None, quick: bool = False, beside: bool = False
) -> Reach:
    """Who fits a draft rule, a segment, or both together. Raises RuleError.

    quick: at most QUICK customers are looked at. beside: also who else they are (previews_beside).
    """
    asked = whom_to_ask(QUICK, QUICK) if quick else whom_to_ask(EXACT_LATER, SAMPLE)
    return _reach(draft(rule, segment), asked, beside=beside)


def count_all(
    rule: object, *, segment: Segment | None = None, on_part: Callable[[], None] = lambda: None
) -> Reach:
    """Who fits among all classified customers, however many: for a worker (exact_counts). on_part: after each part."""
    everybody = list(stored_frames.classified().order_by("pk").values_list("pk", flat=True))
    return _reach(draft(rule, segment), Asked(everybody, len(everybody)), on_part=on_part)


def is_countable_now() -> bool:
    """Whether few enough are classified to be counted while a request waits."""
    return not stored_frames.classified().order_by("pk")[EXACT_LATER : EXACT_LATER + 1].exists()


def _reach(
    node: Node, asked: Asked, *, beside: bool = False, on_part: Callable[[], None] = lambda: None
) -> Reach:
    used = segments.definitions() if beside else segments.definitions(language.segments_used(node))
    predicts = segments.predicts(node, used)
    found = Gathered(used if beside else ())
    count = 0
    tiers: Counter[str] = Counter()
    sample: list[int] = []
    for frame in frames_of(asked, rule_columns.of([node, *(definition.node for definition in used)])):
        evaluated = memberships.evaluate(frame, used)
        fits = _mask(node, evaluated, predicts=predicts)
        ids = evaluated["customer_id"].filter(fits).to_list()
        count += len(ids)
        sample += ids[: SHOWN - len(sample)]
        tiers.update(_tiers(ids))
        found.add(evaluated, fits)
        on_part()
    names = dict(Customer.objects.filter(pk__in=sample).values_list("pk", "reference"))
    return Reach(
        count=asked.scaled(count),
        total=asked.total,
        share=count / asked.looked_at if asked.looked_at else 0.0,
        margin=asked.margin(count),
        by_tier={tier: asked.scaled(found) for tier, found in sorted(tiers.items())},
        sample=tuple((key, names[key]) for key in sample if key in names),
        beside=found.beside() if beside else NOTHING_BESIDE,
    )


def campaign_reach(campaign: Campaign) -> CampaignReach:
    """What a saved campaign would do if it ran today beside those that do."""
    today = Shop.get().today()
    running = [other for other in campaigns.in_effect(today) if other.pk != campaign.pk]
    policy = policies.build([*running, campaign], [])
    own = [index for index, c in enumerate(policy.candidates) if c.campaign.id == campaign.pk]
    asked = whom_to_ask()
    verdicts = {index: Counter[int]() for index in own}
    winners: Counter[str] = Counter()
    for frame in frames_of(asked, rule_columns.of_policy(policy)):
        found = judge_frame(frame, policy, counts=True)
        for index in own:
            codes, counts = np.unique(found.codes[:, index], return_counts=True)
            verdicts[index].update(dict(zip(codes.tolist(), counts.tolist(), strict=True)))
        winners.update(_winners_over(found, policy, own))
    reached = tuple(_rule_reach(policy, index, verdicts[index], asked) for index in own)
    gets = sum(found[code] for found in verdicts.values() for code in GIVEN)
    return CampaignReach(
        total=asked.total,
        gets=asked.scaled(gets),
        margin=asked.margin(gets),
        cost_minor=sum(rule.cost_minor for rule in reached),
        rules=reached,
        outranked_by={name: asked.scaled(count) for name, count in winners.most_common()},
    )


def priority_reach(rule: ServicePriorityRule) -> PriorityReach:
    """Whom a priority rule (saved or not) would give another level than the rules without it."""
    others = list(
        ServicePriorityRule.objects.filter(is_active=True).exclude(pk=rule.pk).select_related("segment")
    )
    with_rule = sorted([*others, rule], key=lambda one: (one.position, one.pk or 0))
    after = policies.build([], with_rule)
    before = policies.build([], sorted(others, key=lambda one: one.position))
    asked = whom_to_ask()
    fits = 0
    moves: Counter[tuple[int, int]] = Counter()
    column = with_rule.index(rule)
    for frame in frames_of(asked, rule_columns.of_policy(after)):
        now, then = judge_frame(frame, after), judge_frame(frame, before)
        answers = now.codes[:, column]
        fits += int(np.isin(answers, (Verdict.PRIORITY_SET, Verdict.PRIORITY_AFTER)).sum())
        moved = now.level != then.level
        moves.update(zip(then.level[moved].tolist(), now.level[moved].tolist(), strict=True))
    scaled = {move: asked.scaled(count) for move, count in sorted(moves.items())}
    return PriorityReach(asked.total, asked.scaled(fits), asked.margin(fits), scaled)


def draft(rule: object, segment: Segment | None) -> Node:
    """A draft rule, a segment, or both together. Raises RuleError."""
    parts: list[Node] = []
    if segment is not None:
        parts.append(language.parse({"field": f"segment.{segment.slug}", "op": "in"}))
    if rule is not None or segment is None:
        parts.append(language.parse(rule))
    return parts[0] if len(parts) == 1 else Group("all", tuple(parts))


def whom_to_ask(most: int | None = None, wanted: int | None = None) -> Asked:
    """Everybody, if that is at most `most`, else a sample of about `wanted`."""
    most, wanted = most or EXACT_UP_TO, wanted or SAMPLE
    rows = stored_frames.classified()
    everybody = list(rows.order_by("pk").values_list("pk", flat=True)[: most + 1])
    if len(everybody) <= most:
        return Asked(everybody, len(everybody))
    # The count may be a minute old, and the shop have grown since.
    total = max(counts.read().customers, len(everybody))
    drawn = list(_drawn(min(wanted / max(total, 1), 1.0)))
    people = bulk.values_in(Customer.objects.filter(merged_into=None), drawn, "pk", by="pk")
    there = [pk for (pk,) in people]
    picked = sorted(pk for (pk,) in bulk.values_in(rows, there, "pk", by="pk"))
    return Asked(picked, max(round(total * len(picked) / max(len(there), 1)), len(picked)))


def _drawn(share: float) -> Iterator[int]:
    """This share of the ids that customers may have: worked out, so that no table is read as a whole."""
    span = Customer.objects.aggregate(first=Min("pk"), last=Max("pk"))
    for start in range(span["first"], span["last"] + 1, _IDS_AT_ONCE):
        ids = np.arange(start, min(start + _IDS_AT_ONCE, span["last"] + 1), dtype=np.uint64)
        yield from ids[ids * np.uint64(_HASH) % np.uint64(_BITS) < share * _BITS].tolist()


def frames_of(asked: Asked, wanted: Wanted = NOTHING) -> Iterator[pl.DataFrame]:
    for ids in batches(asked.ids, _CHUNK):
        yield stored_frames.read(ids, wanted=wanted)


def _mask(node: Node, frame: pl.DataFrame, *, predicts: bool) -> pl.Series:
    """Who fits; nobody outside profiling fits a rule that uses predictions."""
    fits = rules.mask(node, frame, today=Shop.get().today())
    return fits & frame["customer.is_profiled"] if predicts else fits


def _tiers(ids: list[int]) -> Iterator[str]:
    for start in range(0, len(ids), 1000):
        yield from Customer.objects.filter(pk__in=ids[start : start + 1000]).values_list("tier", flat=True)


def judge_frame(frame: pl.DataFrame, policy: Policy, *, counts: bool = False) -> Judged:
    """Whom a policy would give what now. counts: with what these customers had, and what else counts, nothing taken."""
    ids = frame["customer_id"].to_list()
    keys = dict(_holdout_keys(ids))
    shop = Shop.get()
    around = waiting = None
    if counts:
        had = re_entry.entries(ids, policy.candidates)
        waiting = re_entry.waiting(ids, policy.candidates, had, as_of=shop.today() + timedelta(days=1))
        around = circumstances.read(
            ids, policy, shop=shop, today=shop.today(), now=timezone.now(), cause=Decision.Cause.BATCH
        )
    evaluated = memberships.evaluate(frame, policy.definitions)
    held = [keys[key] for key in ids]
    return judge(evaluated, policy, today=shop.today(), keys=held, waiting=waiting, around=around)


def _holdout_keys(ids: list[int]) -> Iterator[tuple[int, str]]:
    for pk, reference, key in bulk.values_in(
        Customer.objects.all(), ids, "pk", "reference", "holdout_key", by="pk"
    ):
        yield pk, key or reference


def _winners_over(judged: Judged, policy: Policy, own: list[int]) -> dict[str, int]:
    """Campaigns that win where one of our rules fits but comes later."""
    beaten = (judged.codes[:, own] == Verdict.OUTRANKED).any(axis=1)
    found: Counter[str] = Counter()
    for index in judged.winner[beaten].tolist():
        if index not in own:
            found[policy.candidates[index].campaign.name] += 1
    return dict(found)


def _rule_reach(policy: Policy, index: int, found: Mapping[int, int], asked: Asked) -> RuleReach:
    candidate = policy.candidates[index]
    cost = _cost(policy, candidate.offer.id)

    def count(*codes: Verdict) -> int:
        return sum(found.get(code, 0) for code in codes)

    gets = asked.scaled(count(*GIVEN))
    held_out = (Verdict.HELD_OUT_GLOBAL, Verdict.HELD_OUT_CAMPAIGN)
    unfit = {Verdict.RULE_FALSE, Verdict.NOT_PROFILED, Verdict.UNREADABLE, Verdict.KEPT}
    fitting = tuple(code for code in Verdict if code not in unfit)
    now = (
        Verdict.NOT_TRIGGERED,
        Verdict.CAPPED,
        Verdict.OUTSIDE_HOURS,
        Verdict.RE_ENTRY_WAIT,
        Verdict.CUSTOMER_LIMIT,
    )
    return RuleReach(
        rule_id=candidate.rule_id,
        name=candidate.name,
        offer=candidate.offer.name,
        fits=asked.scaled(count(*fitting)),
        gets=gets,
        held_out=asked.scaled(count(*held_out)),
        no_consent=asked.scaled(count(Verdict.NO_CONSENT, Verdict.SUPPRESSED)),
        outranked=asked.scaled(count(Verdict.OUTRANKED, Verdict.EXCLUDED, Verdict.NOT_CHOSEN)),
        not_now=asked.scaled(count(*now)),
        not_profiled=asked.scaled(count(Verdict.NOT_PROFILED)),
        cost_minor=gets * cost,
    )


def _cost(policy: Policy, offer_id: int) -> int:
    stored: Any = policy.content["campaigns"]
    offers = (rule["offer"] for campaign in stored for rule in campaign["rules"])
    return next(int(offer["cost_minor"]) for offer in offers if offer["id"] == offer_id)
