"""Catching up: whatever a lost message left behind is found in the rows and nudged again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from crm_integration import drift, hours, inbox, jobs, outbox, reconciling, silence
from crm_integration.models import DriftCheck, Reconciliation
from segmentation import (
    campaigns,
    counts,
    leases,
    memberships,
    overrides,
    privacy,
    scoring_runs,
    segment_history,
    service,
    training_runs,
)
from segmentation.decisions import again
from segmentation.jobs import Job, enqueue
from segmentation.models import (
    CampaignResult,
    CustomerMap,
    DemandOutlook,
    DueCustomer,
    EvaluationRun,
    ImportRun,
    Leased,
    LeaseState,
    PolicyBacktest,
    PolicyEstimate,
    PrivacyRequest,
    PromotionDiff,
    RuleCount,
    ScoringRun,
    ScoringShard,
    Shop,
    TrainingRun,
)
from segmentation.results import measuring
from workers.models import PeriodicRun

log = structlog.get_logger(__name__)

BATCH = 500
# A row this late has probably lost its message; fresher ones still have a nudge on its way.
LATE = timedelta(seconds=10)
# A refresh of a large shop takes a while; only one that was surely lost is asked for again.
STALE_SEGMENT = timedelta(minutes=10)
# Before the classification, so that it knows what the messages had missed.
COMPARISON_HOUR = 1
# After what the night decided has been written.
READING_HOUR = 5


def nudge_late_rows() -> None:
    """Re-nudge every kind of row that is due and late, or whose claim ran out.

    Campaigns start and end on their days, and the shop's numbers are counted for the first page.
    """
    now = timezone.now()
    if inbox.due_ids(limit=1):
        enqueue(Job.PROCESS_INBOUND)
    for connection_id in outbox.due_connections():
        enqueue(Job.DELIVER, connection_id=connection_id)
    if leases.claimable(DueCustomer.objects.all()).exists():
        enqueue(Job.RESCORE_DUE)
    for run_id in _runs_of_late_shards():
        enqueue(Job.RUN_SHARD, run_id=run_id)
    for run_id in _finished_runs():
        enqueue(Job.FINISH_SCORING_RUN, run_id=run_id)
    for run_id in _late(TrainingRun).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.RUN_TRAINING, run_id=run_id)
    for diff_id in _late(PromotionDiff).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.PROMOTION_DIFF, diff_id=diff_id)
    for map_id in _late(CustomerMap).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.DRAW_MAP, map_id=map_id)
    for result_id in _late(CampaignResult).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.MEASURE, result_id=result_id)
    for count_id in _late(RuleCount).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.COUNT_RULE, count_id=count_id)
    for outlook_id in _late(DemandOutlook).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.DEMAND_OUTLOOK, outlook_id=outlook_id)
    for run_id in _late(EvaluationRun).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.RUN_EVALUATION, run_id=run_id)
    for import_run_id in _late(ImportRun).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.IMPORT_FILE, import_run_id=import_run_id)
    for request_id in _late(PrivacyRequest).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.PRIVACY, request_id=request_id)
    for backtest_id in _late(PolicyBacktest).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.BACKTEST, backtest_id=backtest_id)
    for estimate_id in _late(PolicyEstimate).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.ESTIMATE, estimate_id=estimate_id)
    for reconciliation_id in _late(Reconciliation).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.RECONCILE, reconciliation_id=reconciliation_id)
    for check_id in _late(DriftCheck).values_list("pk", flat=True)[:BATCH]:
        enqueue(Job.READ_BACK, check_id=check_id)
    for segment_id in memberships.stale_segment_ids(older_than=STALE_SEGMENT):
        enqueue(Job.REFRESH_SEGMENT, segment_id=segment_id)
    training_runs.release_abandoned()
    jobs.tell_finished()
    today = Shop.get().today()
    campaigns.advance(today)
    overrides.end_expired(today)
    service.end_overrides(now)
    again.release(now)
    segment_history.watch_freshness()
    counts.store_if_due()
    hours.count_new()


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
    """Every so many days, after the shop's hour of its own clock, classify everyone as of that day's end."""
    shop = Shop.get()
    local = timezone.now().astimezone(shop.zone)
    if shop.frozen_on or local.hour < shop.classify_hour:
        return
    day = local.date().isoformat()
    # ISO days are in order as texts.
    recent = (local.date() - timedelta(days=shop.classify_every_days - 1)).isoformat()
    if not PeriodicRun.objects.filter(job=Job.NIGHTLY.value, period__gte=recent).exists():
        # Marked afterwards, and not in one transaction: dividing a million customers would keep SQLite's one writer
        # waiting, and a worker killed in between starts again what is running already.
        scoring_runs.start()
        first_this_period(Job.NIGHTLY, day)


def start_nightly_measurements() -> None:
    """Once a day, after what the night decided has been written, measure every campaign whose result can change."""
    shop = Shop.get()
    local = timezone.now().astimezone(shop.zone)
    if shop.frozen_on or local.hour < READING_HOUR:
        return
    if first_this_period(Job.MEASURE, local.date().isoformat()):
        measuring.request_all(local.date())


def start_nightly_comparisons() -> None:
    """Once a day, after one at night in the shop's time zone, compare each CRM with what its messages told us.

    The row of a connection and a day is unique, so any number of beats start each comparison once.
    """
    shop = Shop.get()
    now = timezone.now()
    local = now.astimezone(shop.zone)
    if not shop.frozen_on and local.hour >= COMPARISON_HOUR:
        reconciling.start_all(period=local.date().isoformat(), now=now)


def watch_connections() -> None:
    """Every few minutes: which connections have gone quiet. A shop whose day is set hears from nobody."""
    if not Shop.get().frozen_on:
        silence.watch()


def start_nightly_readings() -> None:
    """Once a day, after five at night in the shop's time zone, read back a sample of what was written to each CRM."""
    shop = Shop.get()
    local = timezone.now().astimezone(shop.zone)
    if not shop.frozen_on and local.hour >= READING_HOUR:
        drift.start_all(period=local.date().isoformat())


def prune_once_a_day() -> None:
    """Retention and the dates of privacy requests, once a day (see `prune`)."""
    if first_this_period(Job.PRUNE, timezone.now().date().isoformat()):
        from django.core.management import call_command

        privacy.review()
        call_command("prune")
