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


def test_only_json_is_accepted():
    assert list(app.conf.accept_content) == ["json"]
    assert app.conf.task_serializer == "json"


def test_late_jobs_survive_a_killed_worker_and_long_ones_are_acknowledged_at_once():
    tasks = registered()
    assert tasks[Job.RUN_SHARD.value].acks_late
    assert not tasks[Job.RUN_TRAINING.value].acks_late
    assert app.conf.task_reject_on_worker_lost
