"""Beat's messages go the way of all nudges (workers/sender.py)."""

from __future__ import annotations

from typing import Any

from celery import beat

from segmentation.jobs import Job
from workers import sender


class Scheduler(beat.Scheduler):
    """Waits about a second at most for a broker, and tries a fresh connection the next time.

    Celery's own waits for the confirmation on the connection it has, for ever if that is half open: no sweep would
    come any more, and nothing that was lost be found.
    """

    producer = None  # or Celery connects, and waits for a broker that is away

    def apply_async(
        self, entry: beat.ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> None:
        """Raises what the broker raises; the caller logs it."""
        entry = self.reserve(entry) if advance else entry
        sender.send(Job(entry.task), {}, expires=entry.options.get("expires"))
