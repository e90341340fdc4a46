"""Score a set of customers: features → champions → scores → segments → decisions, in one frame and one transaction.

A chunk of a nightly run and a single customer after a webhook go through the same function. Reading and
computing happen before the write transaction; inside it only customers whose inputs are still those that were
read, and who have no newer score, are written. The others are due again anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import structlog
from django.db import transaction
from django.db.models.functions import Now

from segmentation import bulk, frames, leases, order_facts, score_writes, serving
from segmentation.jobs import Job, enqueue
from segmentation.models import (
    Customer,
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

log = structlog.get_logger(__name__)
RETRY_AFTER = timedelta(seconds=30)
CONTEXT_DAYS = 35


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
    shop = Shop.get()
    as_of = as_of or shop.scoring_as_of()
    return Pinned(as_of, shop, context or context_for(as_of, shop), serving.current(pins))


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
    from segmentation.features import catalogue, context, store
    from segmentation.features.compute import compute as compute_features

    # Versions before anything else: whatever changes from here on shows as a grown version when writing.
    versions = store.read_versions(ids)
    customers = store.read_customers(versions["customer_id"].to_list(), as_of=pinned.as_of, shop=pinned.shop)
    keys = customers["customer_id"].to_list()
    events = store.read_events(keys, as_of=pinned.as_of, shop=pinned.shop)
    features = compute_features(events, pinned.as_of, context.load(pinned.context), customers=customers)
    customers = customers.join(versions, on="customer_id", how="left", maintain_order="left")
    known = order_facts.facts_of(events, customers, as_of=pinned.as_of, shop=pinned.shop)
    answers = serving.answer(
        pinned.servings,
        features,
        profiled=known["is_profiled"].to_numpy(),
        outside=order_facts.outside_population(known, as_of=pinned.as_of, shop=pinned.shop),
        catalogue_version=catalogue.CATALOGUE_VERSION,
    )
    frame = frames.decision_frame(features=features, customers=customers, facts=known, answers=answers)
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

    computed = compute(ids, pinned)
    today = pinned.as_of - timedelta(days=1)
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
    stored = _lock(computed.frame["customer_id"].to_list())
    fresh = _fresh_rows(computed, stored)
    stale = computed.frame["customer_id"].filter(pl.Series(~fresh))
    kept = computed if fresh.all() else computed.keep(np.flatnonzero(fresh))
    ids = kept.frame["customer_id"].to_list()
    if not ids:
        return ScoredReport(stale=tuple(stale.to_list()))
    grow = 0 if cause == Decision.Cause.EVENT else 1
    frame = kept.frame.with_columns(pl.col("input_version") + grow)
    keys = frame.select("customer_id", "input_version")
    headlines = score_writes.headlines(kept.facts, keys, kept.answers, as_of=pinned.as_of, shop=pinned.shop)
    store.write_features(
        kept.features,
        as_of=pinned.as_of,
        context=pinned.context,
        input_versions=dict(keys.iter_rows()),
    )
    score_writes.write_scores(keys, kept.answers, as_of=pinned.as_of)
    moved = memberships.publish(frame, cause=_membership_cause(cause)).customer_ids
    decided = decisions.decide(frame, as_of=pinned.as_of, cause=cause, headlines=headlines)
    if on_decided is not None:
        tiers = headlines["tier"].to_list()
        regraded = {key for key, tier in zip(ids, tiers, strict=True) if tier != stored[key].tier}
        if news := _news(moved | regraded, decided.ids()):
            on_decided(news)
    abstained = int((headlines["abstain_reason"] != "").sum())
    return ScoredReport(tuple(ids), tuple(stale.to_list()), len(decided), abstained)


def _news(changed: Iterable[int], decided: Mapping[int, int]) -> list[News]:
    return [News(key, decided.get(key)) for key in sorted({*changed, *decided})]


def rescore_due(*, limit: int = 200, on_decided: OnDecided | None = None) -> int:
    """Score customers whose inputs changed; returns how many due rows were taken (0: nothing is due).

    Whoever was tried before without success is taken alone: one that kills its worker is parked after its attempts
    without those who were in the same batch.
    """
    due = DueCustomer.objects.all()
    if not leases.claimable(due).exists():
        return 0
    # Before the claim: fitting the shop's numbers may outlast a lease, and champions that cannot be read are
    # nobody's failed attempt.
    pinned = pin()
    fresh = leases.claim(due.filter(attempts=0), limit=limit)
    _score_together(fresh, pinned, on_decided)
    tried = leases.claim(due.filter(attempts__gt=0))
    _score_together(tried, pinned, on_decided)
    return len(fresh) + len(tried)


def _score_together(rows: Sequence[DueCustomer], pinned: Pinned, on_decided: OnDecided | None) -> None:
    if not rows:
        return
    with leases.kept(rows):
        try:
            _score_due(rows, pinned, on_decided)
        except Exception:
            # One customer that cannot be scored must not hold up the others: take them one at a time.
            log.exception("scoring.due_failed", customers=len(rows))
            for row in rows:
                _score_one(row, pinned, on_decided)


def _score_one(row: DueCustomer, pinned: Pinned, on_decided: OnDecided | None) -> None:
    try:
        _score_due([row], pinned, on_decided)
    except Exception as error:
        log.exception("scoring.customer_failed", customer=row.customer_id)
        try:
            leases.fail_or_retry(row, f"{type(error).__name__}: {error}", after=RETRY_AFTER)
        except leases.LeaseLost:
            log.info("scoring.due_lost", customer=row.customer_id)


def _score_due(rows: Sequence[DueCustomer], pinned: Pinned, on_decided: OnDecided | None) -> None:
    """Due rows go with the commit; one that changed meanwhile (its generation grew) waits for the next turn."""

    def inside(report: ScoredReport) -> None:
        stale = set(report.stale)
        done = [row for row in rows if row.customer_id not in stale]
        bulk.delete(
            DueCustomer, ("id", "generation", "fence"), [(row.pk, row.generation, row.fence) for row in done]
        )
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


class _Stored(NamedTuple):
    """A customer's row before this scoring."""

    input_version: int
    scored_as_of: date | None
    tier: str


@stage("lock")
def _lock(keys: Sequence[int]) -> dict[int, _Stored]:
    # Always by id: two writers with the same customers wait for each other instead of locking up. Who was merged
    # since the events were read is no longer scored.
    rows = Customer.objects.filter(merged_into__isnull=True).select_for_update().order_by("pk")
    return {
        key: _Stored(*row)
        for key, *row in bulk.values_in(rows, sorted(keys), "pk", *_Stored._fields, by="pk")
    }


def _fresh_rows(computed: Computed, stored: Mapping[int, _Stored]) -> np.ndarray:
    """(n,) True where the customer's inputs are those that were read and nothing newer is stored."""
    keys = computed.frame["customer_id"].to_list()
    pinned = computed.pinned
    ahead = [
        key for key, row in stored.items() if row.scored_as_of is not None and row.scored_as_of > pinned.as_of
    ]
    rewound = _forget_other_clock(ahead, stored, ceiling=max(pinned.as_of, pinned.shop.scoring_as_of()))
    newer = set(ahead) - rewound
    read = computed.frame["input_version"].to_list()
    return np.array(
        [
            key not in newer and key in stored and stored[key].input_version == version
            for key, version in zip(keys, read, strict=True)
        ],
        dtype=bool,
    )


def _forget_other_clock(ahead: Sequence[int], stored: Mapping[int, _Stored], *, ceiling: date) -> set[int]:
    """Results from days that the shop has not reached (its day was set back) are no newer results: drop them."""
    rewound = [key for key in ahead if (stored[key].scored_as_of or ceiling) > ceiling]
    for model in (Score, CustomerFeatures):
        bulk.delete(model, ("customer_id",), [(key,) for key in rewound])
    return set(rewound)


def _rows_of(answer: serving.Answers, rows: np.ndarray) -> serving.Answers:
    names = ("value", "median", "lower", "upper", "label", "abstained")
    picked: dict[str, Any] = {name: getattr(answer, name)[rows] for name in names}
    found = answer.probabilities
    return replace(answer, **picked, probabilities=None if found is None else found[rows])


def _membership_cause(cause: int) -> int:
    return MembershipCause.EVENT if cause == Decision.Cause.EVENT else MembershipCause.BATCH
