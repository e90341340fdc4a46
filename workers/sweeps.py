"""Catching up: whatever a lost message left behind is found in the rows and nudged again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from crm_integration import inbox, outbox
from segmentation import campaigns, counts, leases, memberships, scoring_runs, training_runs
from segmentation.jobs import Job, enqueue
from segmentation.models import (
    DueCustomer,
    ImportRun,
    Leased,
    LeaseState,
    ScoringRun,
    ScoringShard,
    Shop,
    TrainingRun,
)
from workers.models import PeriodicRun

log = structlog.get_logger(__name__)

BATCH = 500
# A row this late has probably lost its message; fresher ones still have a nudge on its way.
LATE = timedelta(seconds=10)
# A refresh of a large shop takes a while; only one that was surely lost is asked for again.
STALE_SEGMENT = timedelta(minutes=10)
NIGHTLY_HOUR = 2


def nudge_late_rows() -> None:
    """Re-nudge every kind of row that is due and late, or whose claim ran out.

    Campaigns start and end on their days, and the shop's numbers are counted for the first page.
    """
    if inbox.due_ids(limit=1):
        enqueue(Job.PROCESS_INBOUND)
    if outbox.due_ids(limit=1):
        enqueue(Job.DELIVER)
    if leases.claimable(DueCustomer.objects.all()).exists():
        enqueue(Job.RESCORE_DUE)
    for run_id in _runs_of_late_shards():
        enqueue(Job.RUN_SHARD, run_id=run_id)
    for run_id in _finished_runs():
        enqueue(Job.FINISH_SCORING_RUN, run_id=run_id)
    for run_id in _late(TrainingRun).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.RUN_TRAINING, run_id=run_id)
    for import_run_id in _late(ImportRun).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.IMPORT_FILE, import_run_id=import_run_id)
    for segment_id in memberships.stale_segment_ids(older_than=STALE_SEGMENT):
        enqueue(Job.REFRESH_SEGMENT, segment_id=segment_id)
    training_runs.release_abandoned()
    campaigns.advance(Shop.get().today())
    counts.store_if_due()


def _late(model: type[Leased]) -> QuerySet[Any]:
    waiting = Q(state=LeaseState.QUEUED, run_after__lt=Now() - LATE)
    return model._default_manager.filter(waiting | Q(state=LeaseState.RUNNING, lease_until__lt=Now()))


def _runs_of_late_shards() -> list[int]:
    """A run id for each shard to nudge again.

    A shard that waits while others of its run are worked on is not late, its nudge stands in the queue; nudging it
    at every sweep of a long run would fill the queue that single events go through.
    """
    lost = Q(state=LeaseState.RUNNING, lease_until__lt=Now())
    worked_on = ScoringShard.objects.filter(state=LeaseState.RUNNING, lease_until__gte=Now())
    late = _late(ScoringShard).filter(lost | ~Q(run__in=worked_on.values("run")), run__state="running")
    return list(late.values_list("run_id", flat=True)[:BATCH])


def _finished_runs() -> list[int]:
    open_shards = ScoringShard.objects.filter(state__in=[LeaseState.QUEUED, LeaseState.RUNNING])
    running = ScoringRun.objects.filter(state=ScoringRun.State.RUNNING)
    return list(running.exclude(shards__in=open_shards).values_list("pk", flat=True)[:BATCH])


def first_this_period(job: Job, period: str) -> bool:
    """True for one caller a period, however many beats there are."""
    with transaction.atomic():
        return PeriodicRun.objects.get_or_create(job=job.value, period=period)[1]


def start_nightly_classification() -> None:
    """Once a day, after two at night in the shop's time zone, classify everyone as of that day's end."""
    shop = Shop.get()
    local = timezone.now().astimezone(shop.zone)
    if shop.frozen_on or local.hour < NIGHTLY_HOUR:
        return
    day = local.date().isoformat()
    if not PeriodicRun.objects.filter(job=Job.NIGHTLY.value, period=day).exists():
        # Marked afterwards, and not in one transaction: dividing a million customers would keep SQLite's one writer
        # waiting, and a worker killed in between starts again what is running already.
        scoring_runs.start()
        first_this_period(Job.NIGHTLY, day)


def prune_once_a_day() -> None:
    """Retention, once a day (see `prune`)."""
    if first_this_period(Job.PRUNE, timezone.now().date().isoformat()):
        from django.core.management import call_command

        call_command("prune")
