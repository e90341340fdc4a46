"""Registers a function as the task of a job, with the limits of workers/queues.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from segmentation.jobs import Job
from workers.celery import app
from workers.queues import POLICIES


def task(job: Job) -> Callable[[Callable[..., None]], Any]:
    policy = POLICIES[job]

    def register(function: Callable[..., None]) -> Any:
        return app.task(
            name=job.value,
            acks_late=policy.late,
            soft_time_limit=policy.soft_limit,
            time_limit=policy.hard_limit,
        )(function)

    return register
