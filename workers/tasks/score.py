from __future__ import annotations

from segmentation import jobs
from segmentation.jobs import Job
from workers.tasks.base import task


@task(Job.RESCORE_DUE)
def rescore_due() -> None:
    from crm_integration import outbox
    from segmentation import rescoring
    from workers.queues import TURN_SECONDS

    rescoring.work_off_due(seconds=TURN_SECONDS, on_decided=outbox.stage)


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


@task(Job.BACKTEST)
def backtest(backtest_id: int) -> None:
    from segmentation import policy_backtests

    policy_backtests.work(backtest_id)


@task(Job.ESTIMATE)
def estimate(estimate_id: int) -> None:
    from segmentation import estimates

    estimates.work(estimate_id)


@task(Job.ANSWER)
def answer(explanation_id: int) -> None:
    from segmentation import questions

    questions.answer(explanation_id)


@task(Job.PROMOTION_DIFF)
def work_out_promotion(diff_id: int) -> None:
    from segmentation import promotion_diffs

    promotion_diffs.work(diff_id)


@task(Job.DRAW_MAP)
def draw_map(map_id: int) -> None:
    from segmentation import maps

    maps.work(map_id)


@task(Job.MEASURE)
def measure(result_id: int) -> None:
    from segmentation.results import measuring

    measuring.work(result_id)


@task(Job.COUNT_RULE)
def count_rule(count_id: int) -> None:
    from segmentation import exact_counts

    exact_counts.work(count_id)


@task(Job.DEMAND_OUTLOOK)
def demand_outlook(outlook_id: int) -> None:
    from segmentation.demand import outlooks

    outlooks.work(outlook_id)


@task(Job.READ_TEXTS)
def read_texts() -> None:
    from segmentation import texts

    if texts.work():
        jobs.enqueue(Job.READ_TEXTS)


@task(Job.REFRESH_SEGMENT)
def refresh_segment(segment_id: int) -> None:
    from crm_integration import outbox
    from segmentation import memberships

    memberships.refresh_segment(segment_id, on_decided=outbox.stage)
