"""What a job leads to is done next by the process that did it: a customer's event does not wait for the broker twice.

Rows remain the truth. A process that is killed in between leaves rows that the sweeps find, as a lost nudge does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import structlog

from segmentation import jobs
from segmentation.jobs import Job

log = structlog.get_logger(__name__)

# On the way from an event to its delivered decision. Each of these works for a turn (workers/queues.py), and none leads
# back to itself: more of the same goes through the broker, where jobs of other kinds have their turn.
NEXT = {Job.PROCESS_INBOUND: Job.RESCORE_DUE, Job.RESCORE_DUE: Job.DELIVER}


def work(job: Job, step: Callable[[], None], steps: Mapping[Job, Callable[..., None]]) -> None:
    """Do a job, and what it leads to where this worker does such jobs at all. steps: how each job is done, by ids."""
    from workers import pulse

    following = NEXT.get(job)
    if following is None or not _is_ours(following):
        step()
        pulse.finished(job)
        return
    with jobs.taking(following) as taken:
        step()
        pulse.finished(job)
    if taken.ids is not None:
        _go_on(following, taken.ids, steps)


def _go_on(job: Job, ids: dict[str, int], steps: Mapping[Job, Callable[..., None]]) -> None:
    """The job before has ended well, and whatever happens to this one does not undo it: it gets a task of its own."""
    try:
        work(job, partial(steps[job], **ids), steps)
    except Exception as error:
        log.exception("job.not_followed", job=job.value, error=type(error).__name__)
        jobs.send(job, ids)


def _is_ours(job: Job) -> bool:
    """Whether this worker takes jobs of this kind from the broker: another one may be alone in reaching the receivers."""
    from workers.celery import app
    from workers.queues import POLICIES, full_name

    return full_name(POLICIES[job].queue) in app.amqp.queues.consume_from
