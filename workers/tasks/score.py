from __future__ import annotations

from segmentation.jobs import Job
from workers.tasks.base import task


@task(Job.RESCORE_DUE)
def rescore_due() -> None:
    from crm_integration import outbox
    from segmentation import scoring

    while scoring.rescore_due(on_decided=outbox.stage):
        pass


@task(Job.RUN_SHARD)
def run_shard(run_id: int) -> None:
    """Claim one waiting shard of the run and walk it; each shard has its own nudge."""
    from crm_integration import outbox
    from segmentation import scoring_runs

    shard = scoring_runs.claim_shard(run_id)
    if shard is not None:
        scoring_runs.run_shard(shard, on_decided=outbox.stage)


@task(Job.FINISH_SCORING_RUN)
def finish_run(run_id: int) -> None:
    from crm_integration import jobs
    from segmentation import scoring_runs

    scoring_runs.finish(run_id)
    jobs.tell_finished()


@task(Job.EXPLAIN)
def explain(customer_id: int) -> None:
    from segmentation import reasons

    reasons.explain(customer_id)


@task(Job.REFRESH_SEGMENT)
def refresh_segment(segment_id: int) -> None:
    from crm_integration import outbox
    from segmentation import memberships

    memberships.refresh_segment(segment_id, on_decided=outbox.stage)
