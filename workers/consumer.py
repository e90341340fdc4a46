"""The message door: reads the queue of each connection that has one and hands every message to the inbox.

A message is acknowledged after its row is committed. Any number of consumers may run beside each other.
"""

from __future__ import annotations

import random
import time
from datetime import datetime
from threading import Event

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections
from django.utils import timezone

from crm_integration import broker, queue_door
from crm_integration.queue_door import Letter, NotTaken
from crm_integration.signatures import Reason
from workers.queue_doors import RETURNED, TAKEN, Doors, Verdict, parked

log = structlog.get_logger(__name__)

DATABASE_AWAY = (OperationalError, InterfaceError)
# How soon a connection that is switched on or off is noticed, and what staff see is brought up to date.
LOOK_SECONDS = 3.0
DRAIN_SECONDS = 1.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
UNEXPECTED = "unexpected_error"


class NoBroker(Exception):
    """The embedded broker has no door."""


class Consumer:
    """Runs until `stop`, through whatever the database and the broker do."""

    def __init__(self) -> None:
        if not broker.is_there():
            raise NoBroker
        self._stopping = Event()
        self._last: dict[int, datetime] = {}

    def stop(self) -> None:
        """Finish the message at hand and end; may be called by a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            doors = self._doors()
            away: tuple[type[BaseException], ...] = (*DATABASE_AWAY, *doors.errors)
            began = time.monotonic()
            try:
                with doors:
                    log.info("consumer.connected")
                    self._work(doors)
            except away as error:
                # What was not acknowledged comes again.
                log.warning("consumer.away", error=type(error).__name__)
                close_old_connections()
                if time.monotonic() - began > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
                self._stopping.wait(pause * random.uniform(0.8, 1.2))
                pause = min(pause * 2, LONGEST_PAUSE)
        log.info("consumer.stopped")

    def _doors(self) -> Doors:
        url = settings.CELERY_BROKER_URL
        if url.startswith(("redis", "rediss", "sentinel")):
            from workers.redis_doors import RedisDoors

            return RedisDoors(url, self._take)
        from workers.amqp_doors import AmqpDoors

        return AmqpDoors(url, self._take)

    def _work(self, doors: Doors) -> None:
        looked = -LOOK_SECONDS
        while not self._stopping.is_set():
            if time.monotonic() - looked >= LOOK_SECONDS:
                self._look(doors)
                looked = time.monotonic()
            doors.drain(DRAIN_SECONDS)

    def _look(self, doors: Doors) -> None:
        """Which queues are to be read, and what staff should know of them."""
        close_old_connections()
        wanted = {row.pk: broker.inbound_queue(row) for row in queue_door.reading()}
        problems = doors.follow(wanted)
        for key, name in wanted.items():
            if problem := problems.get(key):
                log.error("consumer.queue_refused", queue=name, error=problem)
                queue_door.note(key, waiting=0, parked=0, last_message_at=None, problem=problem)
                continue
            depth = doors.depth(key)
            queue_door.note(
                key, waiting=depth.waiting, parked=depth.parked, last_message_at=self._last.pop(key, None)
            )

    def _take(self, connection_id: int, letter: Letter | None) -> Verdict:
        """Raises when the database is away: then nothing is acknowledged."""
        if self._stopping.is_set():
            return RETURNED
        # Read anew, so that a secret that was just replaced counts.
        connection = queue_door.reading().filter(pk=connection_id).first()
        if connection is None:
            return RETURNED
        if letter is None:
            queue_door.refuse(connection, Reason.UNREADABLE)
            return parked(Reason.UNREADABLE.value)
        try:
            received = queue_door.accept(connection, letter)
        except NotTaken as refusal:
            log.warning("consumer.parked", connection_id=connection_id, reason=refusal.reason.value)
            return parked(refusal.reason.value)
        except DATABASE_AWAY:
            raise
        except Exception:
            # One message must not hold up the others for ever: it is set aside in sight, not lost.
            log.exception("consumer.failed", connection_id=connection_id)
            return parked(UNEXPECTED)
        self._last[connection_id] = timezone.now()
        log.info("consumer.received", message_id=received.message_id, duplicate=received.is_duplicate)
        return TAKEN
