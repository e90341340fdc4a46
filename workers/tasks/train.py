from __future__ import annotations

from segmentation.jobs import Job
from workers.tasks.base import task


@task(Job.RUN_TRAINING)
def run(run_id: int) -> None:
    from crm_integration import jobs
    from workers import supervisor

    supervisor.train(run_id)
    jobs.tell_finished()


@task(Job.RUN_EVALUATION)
def evaluate(run_id: int) -> None:
    from workers import supervisor

    supervisor.evaluate(run_id)
