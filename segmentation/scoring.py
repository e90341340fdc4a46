"""Score a set of customers: features → champions → scores → segments → decisions, in one frame and one transaction.

A chunk of a nightly run and a single customer after a webhook go through the same function. Reading and
computing happen before the write transaction; inside it only customers whose inputs are still those that were
read, and who have no newer score, are written. The others are due again anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from segmentation import (
    bulk,
    consents,
    frames,
    in_force,
    leases,
    lookups,
    order_facts,
    outages,
    overrides,
    rule_columns,
    score_writes,
    serving,
)
from segmentation.columns import Field
from segmentation.features import customer_rows
from segmentation.jobs import Job, enqueue
from segmentation.models import (
    CustomerFeatures,
    Decision,
    DueCustomer,
    LeaseState,
    MembershipCause,
    Score,
    ScoringRun,
    Shop,
    ShopContext,
)
from segmentation.news import News, OnDecided
from segmentation.stages import stage

if TYPE_CHECKING:
    from segmentation.features.context_data import ContextData
    from segmentation.ml.sequences import Sequences

log = structlog.get_logger(__name__)
RETRY_AFTER = timedelta(seconds=30)
CONTEXT_DAYS = 35
# So many due customers are scored together.
BATCH = 200
# Kept, so that their statements are worked out once (segmentation/lookups.py).
_DUE: Final = DueCustomer.objects.order_by()
_FRESH: Final = _DUE.filter(attempts=0)
# Of a customer's row before a scoring: whether the inputs are those that were read, what lists show and decisions ask.
STORED = (
    Field("id", "int8"),
    Field("input_version", "int8"),
    Field("scored_as_of", "date", nullable=True),
    Field("tier", "text"),
    Field("reference", "text"),
    Field("holdout_key", "text"),
    Field("current_offer_id", "int8", nullable=True),
    Field("priority", "int2"),
    Field("time_zone", "text"),
    Field("tier_changed_at", "timestamptz", nullable=True),
)


@dataclass(frozen=True)
class ScoredReport:
    """written: customers whose results were stored. stale: those whose inputs changed meanwhile or who have newer ones."""

    written: tuple[int, ...] = ()
    stale: tuple[int, ...] = ()
    decisions: int = 0
    abstained: int = 0


@dataclass(frozen=True)
class Pinned:
    """What a scoring uses besides the customers' own events: the same for every chunk of a run."""

    as_of: date
    shop: Shop
    context: ShopContext
    numbers: ContextData
    servings: tuple[serving.Serving, ...]


@dataclass(frozen=True)
class Computed:
    """Everything that will be written, row by row in the order of `frame`."""

    pinned: Pinned
    frame: pl.DataFrame
    features: pl.DataFrame
    facts: pl.DataFrame
    answers: Sequence[serving.Answers]

    def keep(self, rows: np.ndarray) -> Computed:
        answers = [_rows_of(answer, rows) for answer in self.answers]
        return replace(
            self,
            frame=self.frame[rows],
            features=self.features[rows],
            facts=self.facts[rows],
            answers=answers,
        )


def pin(
    as_of: date | None = None, *, context: ShopContext | None = None, pins: Mapping[str, int] | None = None
) -> Pinned:
    """Champions and shop-wide numbers of now, or those that a run has pinned."""
    from segmentation.features import context as contexts

    with in_force.steady():
        shop = in_force.shop()
        day = as_of or shop.scoring_as_of()
        if context is None:
            row, numbers = in_force.kept(("context", day), lambda: _newest_context(day, shop))
        else:
            row, numbers = context, contexts.load(context)
        servings = in_force.kept("champions", _champions) if pins is None else serving.current(pins)
        return Pinned(day, shop, row, numbers, servings)


def _champions() -> tuple[tuple[serving.Serving, ...], bool]:
    return serving.current(), True


def _newest_context(as_of: date, shop: Shop) -> tuple[tuple[ShopContext, ContextData], bool]:
    """The context and its numbers. One that no run has pinned yet is asked for again."""
    from segmentation.features import context

    row = context_for(as_of, shop)
    return (row, context.load(row)), ScoringRun.objects.filter(context=row).exists()


def context_for(as_of: date, shop: Shop) -> ShopContext:
    """The newest classification's context, so that an event in the morning costs no fit; else fitted for the day."""
    from segmentation.features import catalogue, context

    recent = (as_of - timedelta(days=CONTEXT_DAYS), as_of)
    runs = ScoringRun.objects.filter(
        context__as_of__range=recent, context__catalogue_version=catalogue.CATALOGUE_VERSION
    )
    newest = runs.select_related("context").order_by("-context__as_of", "-pk").first()
    if newest is not None and newest.context is not None:
        return newest.context
    return context.for_date(as_of, shop, max_age_days=CONTEXT_DAYS)


def frame_for(ids: Sequence[int], pinned: Pinned) -> pl.DataFrame:
    """The decision frame of these customers (survivors of merges), computed now and not stored."""
    return compute(ids, pinned).frame


def compute(ids: Sequence[int], pinned: Pinned) -> Computed:
    """Read events and work everything out; writes nothing."""
    from segmentation.features import catalogue, sequences, store
    from segmentation.features.compute import compute as compute_features

    def newest_events(count: int) -> Sequences:
        ids = customers["customer_id"]
        return sequences.build(events, pinned.as_of, pinned.numbers, customers=ids, newest=count)

    customers, selection = store.read_people(ids, as_of=pinned.as_of, shop=pinned.shop)
    events = store.read_events(selection, as_of=pinned.as_of, shop=pinned.shop)
    consent = consents.answers_of(customers["customer_id"], selection)
    features = compute_features(events, pinned.as_of, pinned.numbers, customers=customers)
    known = order_facts.facts_of(events, customers, as_of=pinned.as_of, shop=pinned.shop)
    answers = serving.answer(
        pinned.servings,
        features,
        profiled=known["is_profiled"].to_numpy(),
        outside=order_facts.outside_population(known, as_of=pinned.as_of, shop=pinned.shop),
        catalogue_version=catalogue.CATALOGUE_VERSION,
        newest_events=newest_events,
        orders=known["orders"].to_numpy(),
    )
    answers = overrides.apply(
        answers,
        customers["customer_id"].to_list(),
        selection.absorbed,
        profiled=known["is_profiled"].to_numpy(),
    )
    frame = frames.decision_frame(
        features=features, customers=customers, facts=known, answers=answers, consent=consent
    )
    asked = rule_columns.wanted(pinned.as_of - timedelta(days=1))
    frame = rule_columns.add(frame, asked, events=lambda: events, as_of=pinned.as_of, shop=pinned.shop)
    return Computed(pinned, frame, features, known, answers)


def score_customers(
    ids: Sequence[int],
    pinned: Pinned,
    *,
    cause: int = Decision.Cause.REQUEST,
    on_decided: OnDecided | None = None,
    inside: Callable[[ScoredReport], None] | None = None,
) -> ScoredReport:
    """Score and decide for these customers; all that is written commits together.

    inside: called with the report before the commit, for what must move with the results (a shard's cursor).
    A run or a request grows `input_version`, because day, context or champions may differ; events did already.
    """
    from segmentation import memberships

    today = pinned.as_of - timedelta(days=1)
    with in_force.steady():
        computed = compute(ids, pinned)
        computed = replace(computed, frame=memberships.evaluate(computed.frame, today=today))
        with transaction.atomic():
            report = _write(computed, cause=cause, on_decided=on_decided)
            if inside is not None:
                inside(report)
    return report


def _write(computed: Computed, *, cause: int, on_decided: OnDecided | None) -> ScoredReport:
    from segmentation import decisions, memberships
    from segmentation.features import store

    pinned = computed.pinned
    stored = _lock(computed.frame["customer_id"])
    fresh = _fresh_rows(computed, stored)
    stale = computed.frame["customer_id"].to_numpy()[~fresh].tolist()
    kept = computed
    if stale:
        kept, stored = computed.keep(np.flatnonzero(fresh)), stored.filter(pl.Series(fresh))
    ids = kept.frame["customer_id"].to_list()
    if not ids:
        return ScoredReport(stale=tuple(stale))
    frame = kept.frame
    if cause != Decision.Cause.EVENT:
        frame = frame.with_columns(pl.col("input_version") + 1)
    keys = pl.DataFrame([frame["customer_id"], frame["input_version"]])
    headlines = score_writes.headlines(kept.facts, keys, kept.answers, as_of=pinned.as_of, shop=pinned.shop)
    regraded = headlines["tier"] != stored["tier"]
    headlines = score_writes.with_tier_times(headlines, stored, differs=regraded, at=timezone.now())
    store.write_features(
        kept.features,
        as_of=pinned.as_of,
        context=pinned.context,
        input_versions=keys["input_version"],
    )
    score_writes.write_scores(keys, kept.answers, as_of=pinned.as_of)
    moved = memberships.publish(frame, cause=_membership_cause(cause)).customer_ids
    people = decisions.people(stored)
    decided = decisions.decide(frame, as_of=pinned.as_of, cause=cause, headlines=headlines, people=people)
    if on_decided is not None and (news := _news(moved | set(stored["id"].filter(regraded)), decided.ids())):
        on_decided(news)
    abstained = int((headlines["abstain_reason"] != "").sum())
    return ScoredReport(tuple(ids), tuple(stale), len(decided), abstained)


def _news(changed: Iterable[int], decided: Mapping[int, int]) -> list[News]:
    return [News(key, decided.get(key)) for key in sorted({*changed, *decided})]


def rescore_due(*, limit: int = BATCH, on_decided: OnDecided | None = None) -> int:
    """Score customers whose inputs changed; returns how many due rows were taken (0: nothing is due).

    Whoever was tried before without success is taken alone: one that kills its worker is parked after its attempts
    without those who were in the same batch.
    """
    with in_force.steady():
        return _rescore_due(limit, on_decided)


def _rescore_due(limit: int, on_decided: OnDecided | None) -> int:
    attempts = {count for (count,) in lookups.rows_of(_oldest_attempts(limit))}
    if not attempts:
        return 0
    # Before the claim: fitting the shop's numbers may outlast a lease, and champions that cannot be read are
    # nobody's failed attempt.
    pinned = pin()
    fresh = leases.take(_FRESH, limit=limit) if 0 in attempts else []
    _score_together(fresh, pinned, on_decided)
    tried = leases.claim(_DUE.filter(attempts__gt=0)) if attempts - {0} else []
    _score_together(tried, pinned, on_decided)
    return len(fresh) + len(tried)


@lru_cache(maxsize=8)
def _oldest_attempts(limit: int) -> QuerySet[DueCustomer, Any]:
    return leases.claimable(_DUE).order_by("run_after", "pk").values_list("attempts")[:limit]


def _score_together(rows: Sequence[DueCustomer], pinned: Pinned, on_decided: OnDecided | None) -> None:
    if not rows:
        return
    with leases.kept(rows):
        try:
            _score_due(rows, pinned, on_decided)
        except Exception as error:
            log.exception("scoring.due_failed", customers=len(rows))
            if len(rows) > 1 and outages.is_lost(error):
                leases.give_all_back(rows, type(error).__name__)
                return
            # One customer that cannot be scored must not hold up the others: take them one at a time.
            for row in rows:
                _score_one(row, pinned, on_decided)


def _score_one(row: DueCustomer, pinned: Pinned, on_decided: OnDecided | None) -> None:
    try:
        _score_due([row], pinned, on_decided)
    except Exception as error:
        log.exception("scoring.customer_failed", customer=row.customer_id)
        try:
            leases.try_later(row, error, after=RETRY_AFTER)
        except leases.LeaseLost:
            log.info("scoring.due_lost", customer=row.customer_id)


def _score_due(rows: Sequence[DueCustomer], pinned: Pinned, on_decided: OnDecided | None) -> None:
    """Due rows go with the commit; one that changed meanwhile (its generation grew) waits for the next turn."""

    def inside(report: ScoredReport) -> None:
        stale = set(report.stale)
        done = [row for row in rows if row.customer_id not in stale]
        gone = bulk.delete(
            DueCustomer, ("id", "generation", "fence"), [(row.pk, row.generation, row.fence) for row in done]
        )
        if gone < len(rows):
            _requeue(rows)

    score_customers(
        [row.customer_id for row in rows],
        pinned,
        cause=Decision.Cause.EVENT,
        on_decided=on_decided,
        inside=inside,
    )


def _requeue(rows: Sequence[DueCustomer]) -> None:
    """Whatever of these rows is left and still ours waits again, at once."""
    fences = {row.pk: row.fence for row in rows}
    left = (
        DueCustomer.objects.select_for_update().filter(pk__in=fences, state=LeaseState.RUNNING).order_by("pk")
    )
    ours = [pk for pk, fence in left.values_list("pk", "fence") if fences[pk] == fence]
    if ours:
        DueCustomer.objects.filter(pk__in=ours).update(
            state=LeaseState.QUEUED, lease_until=None, run_after=Now(), attempts=0
        )
        enqueue(Job.RESCORE_DUE)


@stage("lock")
def _lock(ids: pl.Series) -> pl.DataFrame:
    """Hold the customers' rows, and what they are before this scoring: STORED, row by row in the order of `ids`; null
    where the customer is no longer scored (merged since the events were read)."""
    stored = customer_rows.locked(STORED, ids.to_list())
    if stored["id"].equals(ids):
        return stored
    return pl.DataFrame({"id": ids}).join(stored, on="id", how="left", maintain_order="left")


def _fresh_rows(computed: Computed, stored: pl.DataFrame) -> np.ndarray:
    """(n,) True where the customer's inputs are those that were read and nothing newer is stored."""
    pinned = computed.pinned
    equal = stored["input_version"] == computed.frame["input_version"]
    same = (equal.fill_null(False) if equal.null_count() else equal).to_numpy()
    is_ahead = stored["scored_as_of"] > pinned.as_of
    if not is_ahead.any():
        return same
    ahead = stored.filter(is_ahead)
    newer = set(ahead["id"]) - _forget_other_clock(
        ahead, ceiling=max(pinned.as_of, pinned.shop.scoring_as_of())
    )
    return same & ~stored["id"].is_in(sorted(newer)).to_numpy()


def _forget_other_clock(ahead: pl.DataFrame, *, ceiling: date) -> set[int]:
    """Results from days that the shop has not reached (its day was set back) are no newer results: drop them."""
    rewound = ahead.filter(pl.col("scored_as_of") > ceiling)["id"].to_list()
    for model in (Score, CustomerFeatures):
        bulk.delete(model, ("customer_id",), [(key,) for key in rewound])
    return set(rewound)


def _rows_of(answer: serving.Answers, rows: np.ndarray) -> serving.Answers:
    names = ("value", "median", "lower", "upper", "label", "abstained")
    picked: dict[str, Any] = {name: getattr(answer, name)[rows] for name in names}
    picked |= {
        name: None if (found := getattr(answer, name)) is None else found[rows]
        for name in ("probabilities", "said")
    }
    return replace(answer, **picked)


def _membership_cause(cause: int) -> int:
    return MembershipCause.EVENT if cause == Decision.Cause.EVENT else MembershipCause.BATCH
