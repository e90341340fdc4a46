"""Sends the nudges that the domain asks for (settings.JOB_SENDER)."""

from __future__ import annotations

from time import monotonic

from segmentation.jobs import Job

# After a failed publish the broker is left alone for a moment, so that a dead broker does not slow every request.
PAUSE_SECONDS = 5.0
_silent_until = 0.0


class BrokerResting(Exception):
    """The broker failed a moment ago; the sweeps will nudge instead."""


def send(job: Job, ids: dict[str, int]) -> None:
    """Publish one message of ids. Raises what the broker raises; `jobs.enqueue` logs it."""
    global _silent_until
    if monotonic() < _silent_until:
        raise BrokerResting
    from workers.celery import app
    from workers.queues import POLICIES, full_name

    try:
        app.send_task(
            job.value, kwargs=ids, queue=full_name(POLICIES[job].queue), retry=False, ignore_result=True
        )
    except Exception:
        _silent_until = monotonic() + PAUSE_SECONDS
        raise
