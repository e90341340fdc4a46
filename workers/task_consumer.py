"""How a worker holds on to its broker: it must notice that a connection is dead, and find back by itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker import consumer
from django.conf import settings
from kombu import Connection

from segmentation.models import WorkerProcess
from workers import pulse

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

        self.process_name = pulse.name_this_process()
        self._pulse: Any = None

    def register_with_event_loop(self, hub: Any) -> None:
        """The main process says that it lives, from the loop that also forks its children: never in between."""
        super().register_with_event_loop(hub)
        if self._pulse is not None:  # of the loop before a reconnection
            self._pulse.cancel()
        self._beat()
        self._pulse = hub.call_repeatedly(pulse.EVERY_SECONDS, self._beat)

    def _beat(self) -> None:
        names = sorted(
            name.removeprefix(settings.CELERY_QUEUE_PREFIX) for name in self.app.amqp.queues.consume_from
        )
        pulse.beat(self.process_name, WorkerProcess.Kind.WORKER, ",".join(names))

    def ensure_connected(self, conn: Connection) -> Any:
        patient = partial(
            conn.ensure_connection, interval_start=FIRST, interval_step=STEP, interval_max=LONGEST
        )
        conn.ensure_connection = patient  # type: ignore[method-assign]
        return super().ensure_connected(conn)
