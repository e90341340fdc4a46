"""Beat's messages go the way of all nudges (workers/sender.py)."""

from __future__ import annotations

import os
import socket
from time import monotonic
from typing import Any

from celery import beat

from segmentation.jobs import Job
from segmentation.models import WorkerProcess
from workers import pulse, sender


class Scheduler(beat.Scheduler):
    """Waits about a second at most for a broker, and tries a fresh connection the next time.

    Celery's own waits for the confirmation on the connection it has, for ever if that is half open: no sweep would
    come any more, and nothing that was lost be found.
    """

    producer = None  # or Celery connects, and waits for a broker that is away

    _pulse_at = 0.0

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        if monotonic() >= self._pulse_at:
            self._pulse_at = monotonic() + pulse.EVERY_SECONDS
            pulse.beat(f"beat@{socket.gethostname()[:90]}:{os.getpid()}", WorkerProcess.Kind.BEAT)
        return super().tick(*args, **kwargs)

    def apply_async(
        self, entry: beat.ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> None:
        """Raises what the broker raises; the caller logs it."""
        entry = self.reserve(entry) if advance else entry
        sender.send(Job(entry.task), {}, expires=entry.options.get("expires"))
