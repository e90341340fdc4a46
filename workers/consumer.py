"""How a worker holds on to its broker: it must notice that a connection is dead, and find back by itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker import consumer
from kombu import Connection

# Seconds between two tries. Celery waits longer each time, up to half a minute: a broker that is back would wait too.
FIRST, STEP, LONGEST = 1, 1, 4
# Workers tell each other nothing, and nobody reads their events. Publishing one to a connection that is half open
# waits for its confirmation in the event loop, for ever, and the heartbeat that would notice is never checked.
SILENT = {
    "task_events": False,
    "without_heartbeat": True,
    "without_gossip": True,
    "without_mingle": True,
}


class Consumer(consumer.Consumer):
    def __init__(self, *arguments: Any, worker_options: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(*arguments, worker_options={**(worker_options or {}), **SILENT}, **options)

    def ensure_connected(self, conn: Connection) -> Any:
        patient = partial(
            conn.ensure_connection, interval_start=FIRST, interval_step=STEP, interval_max=LONGEST
        )
        conn.ensure_connection = patient  # type: ignore[method-assign]
        return super().ensure_connected(conn)
