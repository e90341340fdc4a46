"""Before a version serves: who would change class, who would gain or lose an offer or a priority, what it would cost.

A worker asks the champion and the version about the same customers from the same stored features, and judges what is in
force now on both answers. Small shops are looked at whole, of large ones a sample (segmentation/previews.py); margins
are then half widths of 95 % intervals.

`PromotionDiff.result`: {"total", "looked_at", "as_of", "moves": [[from, to, customers, margin], …], "changed", "margin",
"sums": [before, after] (expected spend; null for others), "offers": [[name, before, after, gain, lose, margin], …],
"priorities": [[from, to, customers, margin], …], "cost_minor": [before, after, margin of the difference], "people": [[id,
customer, from, to, offer before, offer after, priority before, priority after], …]}; of products bought next "lists" as
well, how many customers have one, and nothing else. A class of chances is a band of
segmentation/dashboard/words.py; of expected spend one of VALUE_MOVES against "same".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import numpy as np
import polars as pl
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation import (
    bulk,
    leases,
    order_facts,
    overrides,
    previews,
    registry,
    rule_columns,
    scoring,
    serving,
)
from segmentation.decisions import policy as policies
from segmentation.decisions.policy import Policy
from segmentation.decisions.verdicts import Judged
from segmentation.features.selection import select
from segmentation.frames import score_columns
from segmentation.jobs import Job, enqueue
from segmentation.ml.sequences import Sequences
from segmentation.models import (
    Customer,
    LeaseState,
    ModelVersion,
    ProductSuggestion,
    PromotionDiff,
    Shop,
    Target,
)
from segmentation.models.customers import PriorityLevel
from segmentation.serving import Answers, Serving

FRESH: Final = timedelta(hours=24)
PEOPLE_SHOWN: Final = 50
# Expected spend that moves by more than this share of itself is another expectation.
MOVED_BY: Final = 0.25
VALUE_MOVES: Final = ("less", "same", "more")
NO_SCORE: Final = "no_score"
NO_OFFER: Final = ""
_Z95: Final = 1.96
_FACTS: Final[dict[str, pl.DataType]] = {
    "customer_id": pl.Int64(),
    "orders": pl.Int64(),
    "last_order_at": pl.Datetime("us", "UTC"),
}
# (before, after) in any words that JSON keeps.
Move = tuple[Any, Any]


@dataclass
class Tally:
    """What was seen of the customers looked at so far."""

    policy: Policy
    moves: Counter[Move] = field(default_factory=Counter)
    offers: Counter[Move] = field(default_factory=Counter)
    priorities: Counter[Move] = field(default_factory=Counter)
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    costs: list[float] = field(default_factory=lambda: [0.0, 0.0])
    squared_cost: float = 0.0
    people: list[list[Any]] = field(default_factory=list)


def latest(target: Target, version: ModelVersion) -> PromotionDiff | None:
    """The newest preview that still holds: against the present champion, and of today."""
    champion = registry.champion(target)
    rows = PromotionDiff.objects.filter(
        target=target, version=version, champion=champion, created_at__gt=timezone.now() - FRESH
    )
    return rows.order_by("-pk").first()


def ask(target: Target, version: ModelVersion, *, by: Any = None) -> PromotionDiff:
    """The preview that still holds, or a new one for a worker."""
    found = latest(target, version)
    if found is not None:
        if found.state == LeaseState.QUEUED:
            enqueue(Job.PROMOTION_DIFF, diff_id=found.pk)
        return found
    try:
        with transaction.atomic():
            # Nobody looks at what held for another day or another champion.
            PromotionDiff.objects.filter(target=target, version=version, state__in=leases.OVER).delete()
            made = PromotionDiff.objects.create(
                target=target,
                version=version,
                champion=registry.champion(target),
                requested_by=by if getattr(by, "is_authenticated", False) else None,
            )
            enqueue(Job.PROMOTION_DIFF, diff_id=made.pk)
            return made
    except IntegrityError:
        # Another is open: of somebody who asked at the same moment, or against the champion before.
        return PromotionDiff.objects.filter(
            target=target, version=version, state__in=[LeaseState.QUEUED, LeaseState.RUNNING]
        ).latest("pk")


def forget(customer_ids: Sequence[int]) -> int:
    """Take these customers out of stored previews (they were erased); returns how many previews named one."""
    gone, count = set(customer_ids), 0
    for row in PromotionDiff.objects.exclude(result=None).only("pk", "result"):
        found: dict[str, Any] = row.result or {}
        kept = [one for one in found["people"] if one[0] not in gone]
        if len(kept) < len(found["people"]):
            PromotionDiff.objects.filter(pk=row.pk).update(result={**found, "people": kept})
            count += 1
    return count


def work(diff_id: int) -> None:
    """Work out one preview, if it waits."""
    for row in leases.claim(PromotionDiff.objects.filter(pk=diff_id)):
        with leases.kept([row]):
            try:
                result = compute(row.target, row.version, row.champion)
            except Exception as error:
                leases.fail(row, f"{type(error).__name__}: {error}")
                raise
            leases.finish(row, result=result)


def compute(target: Target, version: ModelVersion, champion: ModelVersion | None) -> dict[str, Any]:
    shop = Shop.get()
    if target.kind == Target.Kind.NEXT_PRODUCTS:
        return _of_lists(target, shop)
    policy = policies.current(shop.today())
    asked = previews.whom_to_ask()
    tally = Tally(policy)
    pinned = scoring.pin()
    for frame in previews.frames_of(asked, rule_columns.of_policy(policy)):
        before, after = _answers(frame, [Serving(target, champion), Serving(target, version)], pinned)
        judged = [
            previews.judge_frame(_with(frame, answer), policy, counts=True) for answer in (before, after)
        ]
        _count(tally, frame, (before, after), (judged[0], judged[1]))
    return _result(tally, asked, shop)


def _of_lists(target: Target, shop: Shop) -> dict[str, Any]:
    """Products have lists instead of scores: no class, offer or priority hangs on them."""
    nothing: dict[str, Any] = {name: [] for name in ("moves", "offers", "priorities", "people")}
    nothing |= {"changed": 0, "margin": 0, "sums": None, "cost_minor": [0, 0, 0]}
    lists = ProductSuggestion.objects.filter(target=target).count()
    day = shop.scoring_as_of().isoformat()
    return {**nothing, "total": lists, "looked_at": lists, "lists": lists, "as_of": day}


def _answers(frame: pl.DataFrame, servings: Sequence[Serving], pinned: scoring.Pinned) -> list[Answers]:
    """What each version says of these customers now, with what staff set."""
    from segmentation.features import sequences, store
    from segmentation.features.catalogue import CATALOGUE_VERSION

    def newest_events(count: int) -> Sequences:
        events = store.read_events(ids, as_of=pinned.as_of, shop=pinned.shop)
        return sequences.build(
            events, pinned.as_of, pinned.numbers, customers=frame["customer_id"], newest=count
        )

    ids = frame["customer_id"].to_list()
    rows = bulk.values_in(Customer.objects.all(), ids, "pk", "orders", "last_order_at", by="pk")
    facts = pl.DataFrame(list(rows), schema=_FACTS, orient="row")
    facts = frame.select("customer_id").join(facts, on="customer_id", how="left", maintain_order="left")
    profiled = frame["customer.is_profiled"].to_numpy()
    answers = [
        serving.answer(
            [one],
            _features(frame),
            profiled=profiled,
            outside=order_facts.outside_population(facts, as_of=pinned.as_of, shop=pinned.shop),
            newest_events=newest_events,
            orders=facts["orders"].to_numpy(),
            catalogue_version=CATALOGUE_VERSION,
        )[0]
        for one in servings
    ]
    return overrides.apply(answers, ids, select(ids).absorbed, profiled=profiled)


def _features(frame: pl.DataFrame) -> pl.DataFrame:
    """What models are given: features without their prefix, and the shop's own columns."""
    names = [name for name in frame.columns if name.startswith(("feature.", "attribute."))]
    return frame.select("customer_id", *(pl.col(name).alias(name.removeprefix("feature.")) for name in names))


def _with(frame: pl.DataFrame, answer: Answers) -> pl.DataFrame:
    return frame.with_columns(score_columns(answer))


def _count(
    tally: Tally, frame: pl.DataFrame, answers: tuple[Answers, Answers], judged: tuple[Judged, Judged]
) -> None:
    classes = _classes(*answers)
    offers = [_offers(one, tally.policy) for one in judged]
    costs = [_costs(one, tally.policy) for one in judged]
    levels = [one.level.tolist() for one in judged]
    tally.moves.update(zip(*classes, strict=True))
    tally.offers.update(zip(*offers, strict=True))
    tally.priorities.update(zip(*levels, strict=True))
    for side in (0, 1):
        tally.sums[side] += float(np.nansum(answers[side].value))
        tally.costs[side] += float(costs[side].sum())
    tally.squared_cost += float(((costs[1] - costs[0]) ** 2).sum())
    for row, key in enumerate(frame["customer_id"].to_list()):
        if len(tally.people) >= PEOPLE_SHOWN:
            return
        told = [(one[0][row], one[1][row]) for one in (classes, offers, levels)]
        if any(before != after for before, after in told):
            tally.people.append([key, *(word for pair in told for word in pair)])


def _classes(before: Answers, after: Answers) -> tuple[list[str], list[str]]:
    """Each customer's class by both answers: as decided, by band of chance, or how far the expectation moved."""
    from segmentation import targets
    from segmentation.dashboard import words

    if targets.is_class_target(before.serving.target):
        named = [[label or NO_SCORE for label in one.in_force.tolist()] for one in (before, after)]
        return named[0], named[1]
    if before.serving.target.kind == Target.Kind.FUTURE_VALUE:
        return _value_moves(before.value, after.value)
    if before.serving.target.kind == Target.Kind.UPLIFT:
        # A difference of a point of uplift counts as a move, whatever the uplift was.
        return _value_moves(1 + before.value, 1 + after.value, by=0.01)
    banded = [
        [NO_SCORE if math.isnan(chance) else words.risk_band(chance).slug for chance in one.value.tolist()]
        for one in (before, after)
    ]
    return banded[0], banded[1]


def _value_moves(
    before: np.ndarray, after: np.ndarray, *, by: float = MOVED_BY
) -> tuple[list[str], list[str]]:
    moved = np.where(np.abs(after - before) > by * np.maximum(before, 1e-9), np.sign(after - before), 0)
    known, then = np.isfinite(after), np.isfinite(before)
    named = [
        VALUE_MOVES[int(step) + 1] if there and was else (NO_SCORE if not there else "same")
        for step, there, was in zip(np.nan_to_num(moved).tolist(), known.tolist(), then.tolist(), strict=True)
    ]
    return [("same" if was else NO_SCORE) for was in then.tolist()], named


def _offers(judged: Judged, policy: Policy) -> list[str]:
    names = [*(candidate.offer.name for candidate in policy.candidates), NO_OFFER]
    return [names[index] for index in judged.winner.tolist()]


def _costs(judged: Judged, policy: Policy) -> np.ndarray:
    """(n,) what each customer's offer costs, in minor units."""
    stored: Any = policy.content["campaigns"]
    by_id = {rule["offer"]["id"]: int(rule["offer"]["cost_minor"]) for one in stored for rule in one["rules"]}
    each = np.array([*(by_id[candidate.offer.id] for candidate in policy.candidates), 0], dtype=np.float64)
    return np.asarray(each[judged.winner])


def _result(tally: Tally, asked: previews.Asked, shop: Shop) -> dict[str, Any]:
    scale = asked.total / asked.looked_at if asked.looked_at else 0.0
    changed = sum(count for (before, after), count in tally.moves.items() if before != after)
    valued = any(word in VALUE_MOVES for move in tally.moves for word in move)
    names = dict(
        Customer.objects.filter(pk__in=[row[0] for row in tally.people]).values_list("pk", "reference")
    )
    return {
        "total": asked.total,
        "looked_at": asked.looked_at,
        "as_of": shop.scoring_as_of().isoformat(),
        "moves": list(_moves(tally.moves, asked)),
        "changed": asked.scaled(changed),
        "margin": asked.margin(changed),
        "sums": [round(total * scale, 2) for total in tally.sums] if valued else None,
        "offers": list(_offer_rows(tally.offers, asked)),
        "priorities": [row for row in _moves(tally.priorities, asked) if row[0] != row[1]],
        "cost_minor": [*(round(cost * scale) for cost in tally.costs), _cost_margin(tally, asked)],
        "people": [[row[0], names.get(row[0], ""), *row[1:]] for row in tally.people],
    }


def _moves(counted: Counter[Move], asked: previews.Asked) -> Iterator[list[Any]]:
    for (before, after), count in counted.most_common():
        yield [before, after, asked.scaled(count), asked.margin(count)]


def _offer_rows(counted: Counter[Move], asked: previews.Asked) -> Iterator[list[Any]]:
    """Each offer: how many have it before and after, how many gain and lose it."""
    for name in sorted({word for move in counted for word in move} - {NO_OFFER}):
        before = sum(count for move, count in counted.items() if move[0] == name)
        after = sum(count for move, count in counted.items() if move[1] == name)
        stay = counted[name, name]
        gain, lose = after - stay, before - stay
        numbers = [asked.scaled(count) for count in (before, after, gain, lose)]
        yield [name, *numbers, asked.margin(gain + lose)]


def _cost_margin(tally: Tally, asked: previews.Asked) -> int:
    """Half width of the 95 % interval of the difference in cost (normal approximation, finite population)."""
    count = asked.looked_at
    if count in (0, asked.total):
        return 0
    mean = (tally.costs[1] - tally.costs[0]) / count
    spread = math.sqrt(max(tally.squared_cost / count - mean**2, 0.0))
    return math.ceil(_Z95 * spread / math.sqrt(count) * asked.total * math.sqrt(1 - count / asked.total))


def level_words(level: int) -> str:
    return str(PriorityLevel(level).label)


def waits(diff: PromotionDiff) -> bool:
    return not diff.is_over


def refusal(diff: PromotionDiff | None) -> str:
    """Why a promotion may not be confirmed yet, or ""."""
    if diff is None or not diff.is_over:
        return _("What the promotion would change is still being worked out. Look at it first, then promote.")
    return ""
