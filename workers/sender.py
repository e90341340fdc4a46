"""Sends the nudges that the domain asks for (settings.JOB_SENDER)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from segmentation.jobs import Job

if TYPE_CHECKING:
    from kombu import Producer
    from kombu.pools import ProducerPool

# After a failed publish the broker is left alone for a moment, so that a dead broker does not slow every request.
PAUSE_SECONDS = 5.0
# RabbitMQ that is out of memory or disk keeps the connection open and confirms nothing.
CONFIRM_SECONDS = 1.0
_silent_until = 0.0


class BrokerResting(Exception):
    """The broker failed a moment ago; the sweeps will nudge instead."""


def send(job: Job, ids: dict[str, int], *, expires: float | None = None) -> None:
    """Publish one message of ids, void after `expires` seconds. Raises what the broker raises; `enqueue` logs it."""
    global _silent_until
    if monotonic() < _silent_until:
        raise BrokerResting
    from workers.celery import app
    from workers.queues import POLICIES, full_name

    queue = full_name(POLICIES[job].queue)
    try:
        with _producers().acquire(block=True) as producer, _hanging_up(producer):
            app.send_task(
                job.value,
                kwargs=ids,
                queue=queue,
                producer=producer,
                retry=False,
                expires=expires,
                ignore_result=True,
                confirm_timeout=CONFIRM_SECONDS,
            )
    except Exception:
        _silent_until = monotonic() + PAUSE_SECONDS
        raise


def _producers() -> ProducerPool:
    """Connections for nudges: they wait less for an answer than a worker's own, because a request waits with them."""
    from kombu.pools import producers

    from workers.celery import NUDGE_OPTIONS, app

    return producers[app.connection_for_write(transport_options=NUDGE_OPTIONS)]


@contextmanager
def _hanging_up(producer: Producer) -> Iterator[None]:
    """After a failure cut the connection: closing it in form would wait for an answer that may never come."""
    try:
        yield
    except Exception:
        connection = producer.connection
        if connection is not None and connection.connected and hasattr(connection.connection, "collect"):
            connection.connection.collect()
        raise
