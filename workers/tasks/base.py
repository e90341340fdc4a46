"""Registers a function as the task of a job, with the limits of workers/queues.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from segmentation.jobs import Job
from workers import following
from workers.celery import app
from workers.queues import POLICIES

_work: dict[Job, Callable[..., None]] = {}


def task(job: Job) -> Callable[[Callable[..., None]], Any]:
    policy = POLICIES[job]

    def register(function: Callable[..., None]) -> Any:
        _work[job] = function

        @wraps(function)
        def work(*args: Any, **ids: Any) -> None:
            following.work(job, partial(function, *args, **ids), _work)

        return app.task(
            name=job.value,
            acks_late=policy.late,
            soft_time_limit=policy.soft_limit,
            time_limit=policy.hard_limit,
        )(work)

    return register
