"""Every job the domain may ask for is a registered task with a queue and limits."""

from __future__ import annotations

from segmentation.jobs import Job
from workers import queues
from workers.celery import app


def registered():
    app.loader.import_default_modules()
    return app.tasks


def test_every_job_is_a_registered_task():
    assert {job.value for job in Job} <= set(registered())


def test_every_job_has_a_policy_on_a_known_queue():
    assert set(queues.POLICIES) == set(Job)
    assert {policy.queue for policy in queues.POLICIES.values()} <= set(queues.QUEUES)


def test_what_may_take_minutes_never_stands_before_a_customers_rescore():
    quick = {
        job
        for job, policy in queues.POLICIES.items()
        if policy.queue == queues.POLICIES[Job.RESCORE_DUE].queue
    }
    # A run's shards are walked chunk by chunk, and one nudge a shard waits in the queue (workers/sweeps.py).
    assert quick == {Job.RESCORE_DUE, Job.RUN_SHARD, Job.FINISH_SCORING_RUN, Job.EXPLAIN, Job.ANSWER}


def test_only_json_is_accepted():
    assert list(app.conf.accept_content) == ["json"]
    assert app.conf.task_serializer == "json"


def test_late_jobs_survive_a_killed_worker_and_long_ones_are_acknowledged_at_once():
    tasks = registered()
    assert tasks[Job.RUN_SHARD.value].acks_late
    assert not tasks[Job.RUN_TRAINING.value].acks_late
    assert app.conf.task_reject_on_worker_lost
