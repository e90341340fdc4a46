"""Classify everybody as of a day: start, claim a shard, walk it in chunks, finish. Knows no torch until a shard runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Count, F, Max, Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from segmentation import counts, leases, locks, memberships, serving
from segmentation.features import customer_rows
from segmentation.jobs import Job, enqueue
from segmentation.locks import commit_later
from segmentation.models import (
    AuditEntry,
    Customer,
    Decision,
    LeaseState,
    Offer,
    ScoringRun,
    ScoringShard,
    Segment,
    Shop,
)
from segmentation.stages import stage

if TYPE_CHECKING:
    from segmentation.news import OnDecided
    from segmentation.scoring import Pinned, ScoredReport

log = structlog.get_logger(__name__)
RETRY_AFTER = timedelta(seconds=15)
OPEN = (LeaseState.QUEUED, LeaseState.RUNNING)
# Customers a transaction: SQLite has one writer, so its transactions stay under a fifth of a second.
CHUNK = {"sqlite": 600, "postgresql": 10_000}
# A shard has at most so many parts of what is left, and no fewer customers than these.
SHARDS_LEFT = 3
SMALL_SHARD = 2500


class ScoringError(Exception):
    """A classification that cannot start; the message says why and what to do."""


def start(
    as_of: date | None = None,
    *,
    requested_by: Any = None,
    inside: Callable[[ScoringRun], None] | None = None,
) -> ScoringRun:
    """Start classifying everybody, or return the run that is doing so for this date already.

    One that still works with the champions of before makes way. inside: called with the run in the transaction that
    writes it, or in none where it is there already.
    """
    shop = Shop.get()
    as_of = as_of or shop.scoring_as_of()
    _refuse_the_past(as_of, shop)
    # Walked before the transaction: SQLite has one writer, which a million ids would hold up. Who comes in
    # meanwhile is due by their own events.
    parts = list(_parts(settings.SCORING_SHARD_SIZE))
    _cancel_outdated(as_of, requested_by)
    try:
        with transaction.atomic():
            run = _start(as_of, parts, requested_by)
            if inside is not None:
                inside(run)
            return run
    except IntegrityError:
        # Somebody started the same day a moment ago (one_running_classification_a_date).
        run = ScoringRun.objects.get(as_of=as_of, state=ScoringRun.State.RUNNING)
        if inside is not None:
            inside(run)
        return run


def claim_shard(run_id: int | None = None) -> ScoringShard | None:
    """A waiting shard of this run (or of any), or one whose worker was lost; None when there is none."""
    shards = ScoringShard.objects.filter(run__state=ScoringRun.State.RUNNING)
    if run_id is not None:
        shards = shards.filter(run_id=run_id)
    claimed = leases.claim(shards)
    if not claimed:
        # A shard whose workers all died was parked by this look; its run may be over now.
        _end_if_last(run_id)
    return claimed[0] if claimed else None


def run_shard(shard: ScoringShard, *, on_decided: OnDecided | None = None) -> None:
    """Walk the shard from its cursor; an error is retried from there, and stays visible when it keeps failing."""
    try:
        with leases.kept([shard]):
            _walk(shard, on_decided)
    except leases.Cancelled:
        leases.cancel(shard)
    except leases.LeaseLost:
        log.warning("scoring.shard_lost", shard=shard.pk)
    except Exception as error:
        log.exception("scoring.shard_failed", shard=shard.pk)
        _failed(shard, error)
    _end_if_last(shard.run_id)


def cancel(run: ScoringRun, by: Any = None) -> bool:
    """Stop a running classification; what is committed stays. False when it is over already."""
    with transaction.atomic():
        running = ScoringRun.objects.filter(pk=run.pk, state=ScoringRun.State.RUNNING)
        stopped = running.update(state=ScoringRun.State.CANCELLED, finished_at=Now())
        if stopped:
            shards = ScoringShard.objects.filter(run=run)
            shards.filter(state=LeaseState.QUEUED).update(state=LeaseState.CANCELLED, finished_at=Now())
            shards.filter(state=LeaseState.RUNNING).update(cancel_requested=True)
            AuditEntry.record("classification.cancel", run, actor=by)
    run.refresh_from_db()
    return bool(stopped)


def finish(run_id: int) -> None:
    """Close a run whose shards are all over: counts for staff, and what failed. Safe to call again."""
    from segmentation import choices, monitoring, suggestions
    from segmentation.features import portrait

    run = ScoringRun.objects.filter(pk=run_id, state=ScoringRun.State.RUNNING).first()
    if run is None or run.shards.filter(state__in=OPEN).exists():
        return
    failed = run.shards.filter(state=LeaseState.FAILED)
    error = ""
    if failed.exists():
        error = _("%(count)s of %(all)s parts failed. The first: %(error)s") % {
            "count": failed.count(),
            "all": run.shards.count(),
            "error": failed.order_by("number")[0].error,
        }
    memberships.recount()
    summary = summarise(run)
    ScoringRun.objects.filter(pk=run_id, state=ScoringRun.State.RUNNING).update(
        state=ScoringRun.State.FAILED if error else ScoringRun.State.DONE,
        error=error[: leases.ERROR_LENGTH],
        summary=summary,
        finished_at=Now(),
    )
    # Last, since a run is over without them.
    choices.refresh_all()
    sample = portrait.sample(run.as_of)
    portrait.refresh(sample, as_of=run.as_of)
    monitoring.check(sample, as_of=run.as_of, shop=Shop.get())
    suggestions.refresh_all(as_of=run.as_of, shop=Shop.get())


def progress(run: ScoringRun) -> float:
    """Share of the customers done, 0 to 1."""
    done = sum(run.shards.values_list("scored", flat=True))
    return min(done / run.customers, 1.0) if run.customers else 1.0


def summarise(run: ScoringRun) -> dict[str, Any]:
    """Customers by tier, segment, offer and priority as they stand now."""
    people = Customer.objects.filter(merged_into__isnull=True)

    def sorted_by_name(counted: Mapping[Any, int]) -> dict[str, int]:
        named = {str(value): n for value, n in counted.items() if value not in {None, ""}}
        return dict(sorted(named.items()))

    now = counts.store()
    offers: dict[int | None, str] = dict(Offer.objects.values_list("pk", "slug"))
    abstained = people.exclude(abstain_reason="").order_by().values_list("abstain_reason")
    # Counted a moment ago.
    segments = Segment.objects.filter(member_count__gt=0).values_list("slug", "member_count")
    return {
        "customers": run.customers,
        "scored": sum(run.shards.values_list("scored", flat=True)),
        "tiers": sorted_by_name(now.tiers),
        "segments": dict(sorted(segments)),
        "offers": sorted_by_name({offers.get(key): n for key, n in now.offers.items()}),
        "priorities": sorted_by_name(now.priorities),
        "abstained": sorted_by_name(dict(abstained.annotate(n=Count("pk")))),
        "decisions": Decision.objects.filter(
            cause=Decision.Cause.BATCH, decided_at__gte=run.created_at
        ).count(),
    }


def _refuse_the_past(as_of: date, shop: Shop) -> None:
    """Older results never replace newer ones, so a run for an earlier day would do nothing."""
    reached = shop.scoring_as_of()
    if as_of > reached:
        raise ScoringError(
            _("%(day)s is in the future. The latest possible day is %(latest)s.")
            % {"day": as_of.isoformat(), "latest": reached.isoformat()}
        )
    newest = Customer.objects.filter(scored_as_of__lte=reached).aggregate(day=Max("scored_as_of"))["day"]
    if newest is not None and as_of < newest:
        raise ScoringError(
            _(
                "Customers have results as of %(newest)s already, and older ones never replace newer ones. "
                "Classify as of %(newest)s or later, or set back the shop's “today”."
            )
            % {"newest": newest.isoformat()}
        )


def _cancel_outdated(as_of: date, by: Any) -> None:
    pins = serving.pins(serving.current())
    for run in ScoringRun.objects.filter(as_of=as_of, state=ScoringRun.State.RUNNING):
        if run.pinned_versions != pins:
            cancel(run, by=by)


def _start(as_of: date, parts: Sequence[_Part], requested_by: Any) -> ScoringRun:
    run = ScoringRun.objects.create(
        as_of=as_of,
        pinned_versions=serving.pins(serving.current()),
        customers=sum(part.customers for part in parts),
        requested_by=requested_by if getattr(requested_by, "is_authenticated", False) else None,
    )
    shards = ScoringShard.objects.bulk_create(
        ScoringShard(run=run, number=number, first_id=part.first, last_id=part.last, cursor=part.first - 1)
        for number, part in enumerate(parts, start=1)
    )
    for _shard in shards:
        enqueue(Job.RUN_SHARD, run_id=run.pk)
    if not shards:
        enqueue(Job.FINISH_SCORING_RUN, run_id=run.pk)
    AuditEntry.record("classification.start", run, actor=requested_by, as_of=as_of.isoformat())
    return run


class _Part(NamedTuple):
    """The customers of one shard: first id, last id, how many."""

    first: int
    last: int
    customers: int


def _parts(size: int) -> Iterator[_Part]:
    """Everybody by id, `size` at a time and fewer towards the end, so that workers end together."""
    people = Customer.objects.filter(merged_into__isnull=True).order_by("pk")
    left = people.count()
    ids = people.values_list("pk", flat=True).iterator(chunk_size=10_000)
    while part := list(islice(ids, max(min(size, SMALL_SHARD), min(size, left // SHARDS_LEFT)))):
        left -= len(part)
        yield _Part(part[0], part[-1], len(part))


def _walk(shard: ScoringShard, on_decided: OnDecided | None) -> None:
    from segmentation.scoring import score_customers

    pinned = _pinned(shard)
    while ids := _next_ids(shard):
        leases.renew(shard, progress=_done_share(shard))
        score_customers(
            ids,
            pinned,
            cause=Decision.Cause.BATCH,
            on_decided=on_decided,
            inside=_cursor_to(shard, ids[-1], len(ids)),
        )
        shard.cursor, shard.attempts = ids[-1], 1
    leases.finish(shard)


def _cursor_to(shard: ScoringShard, last_id: int, count: int) -> Callable[[ScoredReport], None]:
    """Move the cursor in the transaction of the results, and only while the claim stands and nobody cancelled:
    the results of a run that made way must not land among those of the run that took its place.

    A shard that moves is no poison, however often its workers are killed: its attempts count from here again.

    The commit does not wait for the disk: a server that crashes loses results, decisions, staged deliveries and the
    cursor together, and the shard goes on from there. What is promised outside waits: a delivery is claimed in a
    commit of its own before it is sent, and that commit, as the one that ends the shard, makes this one last too.
    """

    def move(report: ScoredReport) -> None:
        commit_later()
        leases.guard(shard)
        wanted = ScoringShard.objects.filter(pk=shard.pk, cancel_requested=False)
        if not wanted.update(cursor=last_id, scored=F("scored") + count, attempts=1):
            raise leases.Cancelled(f"classification {shard.run_id} was cancelled")

    return move


def _next_ids(shard: ScoringShard) -> list[int]:
    return customer_rows.survivors(
        after=shard.cursor, last=shard.last_id, limit=CHUNK[connection.vendor]
    ).to_list()


def _done_share(shard: ScoringShard) -> float:
    return (shard.cursor + 1 - shard.first_id) / (shard.last_id + 1 - shard.first_id)


@stage("context")
def _pinned(shard: ScoringShard) -> Pinned:
    """What the run is pinned to; the first shard fits the shop-wide numbers for the day."""
    from segmentation.features import context
    from segmentation.scoring import pin

    run = ScoringRun.objects.select_related("context").get(pk=shard.run_id)
    if run.context is None:
        leases.renew(shard, note=_("Reading the shop's numbers"))
        with locks.turn(f"context of run {run.pk}"):
            run.refresh_from_db()
            if run.context is None:
                fitted = context.for_date(run.as_of, Shop.get(), fresh=True)
                ScoringRun.objects.filter(pk=run.pk, context__isnull=True).update(context=fitted)
        run.refresh_from_db()
    return pin(run.as_of, context=run.context, pins=run.pinned_versions)


def _failed(shard: ScoringShard, error: Exception) -> None:
    try:
        leases.try_later(shard, error, after=RETRY_AFTER)
    except leases.LeaseLost:
        log.warning("scoring.shard_lost", shard=shard.pk)


def _end_if_last(run_id: int | None) -> None:
    """Nudge the end of runs without open shards; `finish` checks again."""
    runs = ScoringRun.objects.filter(state=ScoringRun.State.RUNNING).filter(
        Q() if run_id is None else Q(pk=run_id)
    )
    for pk in runs.exclude(shards__state__in=OPEN).values_list("pk", flat=True):
        enqueue(Job.FINISH_SCORING_RUN, run_id=pk)
