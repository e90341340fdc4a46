"""The embedded broker: a kombu transport that leases messages from the application's own database.

A message taken by a worker stays in its row under a lease that the worker renews while it holds it; acknowledging
deletes the row, and the lease of a killed worker runs out. kombu's serverless transports remove a message when it
is taken, so that a killed worker loses it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty
from threading import RLock
from time import monotonic
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from workers.models import QueuedMessage

LEASE_SECONDS = 30.0
RENEW_SECONDS = 10.0
# A nudge that so many workers took and never acknowledged is dropped: its row still says what is to be done.
MAX_DELIVERIES = 5
LOOK_AT_MOST = 100
CLOCK = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "postgresql": "extract(epoch from clock_timestamp())::float8",
}
TABLE = QueuedMessage._meta.db_table

# Connections opened before a fork are kept alive, and never used or closed, in the child (SQLite forbids both).
_inherited: list[BaseDatabaseWrapper] = []


class Lease(NamedTuple):
    """`delivery` counts how often the message was taken, and so tells this lease from a later one."""

    key: int
    delivery: int


class Store:
    """The table of messages, through a database connection of its own, outside the caller's transactions."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._database: BaseDatabaseWrapper | None = None
        self._pid = os.getpid()

    @contextmanager
    def _cursor(self) -> Iterator[tuple[Any, str, str]]:
        """Yield (cursor, clock expression, row lock clause); one user at a time."""
        with self._lock:
            database = self._connect()
            lock = "FOR UPDATE SKIP LOCKED" if database.vendor == "postgresql" else ""
            try:
                with database.cursor() as cursor:
                    yield cursor, CLOCK[database.vendor], lock
            except DatabaseError:
                database.close_if_unusable_or_obsolete()
                raise

    def _connect(self) -> BaseDatabaseWrapper:
        if self._database is not None and self._pid != os.getpid():
            _inherited.append(self._database)
            self._database = None
        if self._database is None:
            self._pid = os.getpid()
            self._database = connections.create_connection(DEFAULT_DB_ALIAS)
            self._database.inc_thread_sharing()
        return self._database

    def put(self, queue: str, payload: str) -> None:
        with self._cursor() as (cursor, _, _lock):
            cursor.execute(
                f"INSERT INTO {TABLE} (queue, payload, leased_until, deliveries) VALUES (%s, %s, 0, 0)",
                [queue, payload],
            )

    def take(self, queues: list[str]) -> tuple[Lease, str, str]:
        """Lease the oldest free message of `queues`: (lease, queue, payload). Raises Empty."""
        marks = ", ".join(["%s"] * len(queues))
        with self._cursor() as (cursor, clock, lock):
            free = f"SELECT id FROM {TABLE} WHERE queue IN ({marks}) AND leased_until < {clock} ORDER BY id LIMIT 1"
            cursor.execute(free, queues)
            if cursor.fetchone() is None:  # reading first keeps an idle worker off SQLite's write lock
                raise Empty
            cursor.execute(
                f"UPDATE {TABLE} SET leased_until = {clock} + %s, deliveries = deliveries + 1 "
                f"WHERE id = ({free} {lock}) AND leased_until < {clock} RETURNING id, queue, payload, deliveries",
                [LEASE_SECONDS, *queues],
            )
            row = cursor.fetchone()
        if row is None:
            raise Empty
        key, queue, payload, deliveries = row
        if deliveries > MAX_DELIVERIES:
            self.delete(key)
            raise Empty
        return Lease(key, deliveries), queue, payload

    def delete(self, key: int) -> None:
        with self._cursor() as (cursor, _, _lock):
            cursor.execute(f"DELETE FROM {TABLE} WHERE id = %s", [key])

    def release(self, lease: Lease) -> None:
        """Give the message back, unless its lease ran out and another worker has it."""
        with self._cursor() as (cursor, _, _lock):
            cursor.execute(
                f"UPDATE {TABLE} SET leased_until = 0 WHERE id = %s AND deliveries = %s",
                [lease.key, lease.delivery],
            )

    def renew(self, keys: list[int]) -> None:
        marks = ", ".join(["%s"] * len(keys))
        with self._cursor() as (cursor, clock, _lock):
            cursor.execute(
                f"UPDATE {TABLE} SET leased_until = {clock} + %s WHERE id IN ({marks})",
                [LEASE_SECONDS, *keys],
            )

    def count(self, queue: str) -> int:
        with self._cursor() as (cursor, _, _lock):
            cursor.execute(f"SELECT count(*) FROM {TABLE} WHERE queue = %s", [queue])
            return int(cursor.fetchone()[0])

    def purge(self, queue: str) -> int:
        with self._cursor() as (cursor, _, _lock):
            cursor.execute(f"DELETE FROM {TABLE} WHERE queue = %s", [queue])
            return int(cursor.rowcount)

    def close(self) -> None:
        with self._lock:
            if self._database is not None and self._pid == os.getpid():
                self._database.close()
            self._database = None


class LeasedQoS(virtual.QoS):
    """Unacknowledged messages keep their rows; restoring one means giving its lease back.

    Whatever the database says, the message leaves the worker's hands: one that a full disk would not let go must
    not take up a place for ever. Its lease runs out and it comes again.
    """

    restore_at_shutdown = True

    def ack(self, delivery_tag: str) -> None:
        try:
            self.channel.settle(delivery_tag)
        finally:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        try:
            if requeue:
                self.channel.give_back(delivery_tag)
            else:
                self.channel.settle(delivery_tag)
        finally:
            self._quick_ack(delivery_tag)


class Channel(virtual.Channel):
    QoS = LeasedQoS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: dict[str, Lease] = {}
        self._renewed = monotonic()

    @property
    def store(self) -> Store:
        return self.connection.store

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        self.store.put(queue, dumps(message))

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        return self._take([queue])[1]

    def _take(self, queues: list[str]) -> tuple[str, dict[str, Any]]:
        lease, queue, payload = self.store.take(queues)
        message = loads(payload)
        tag = self._next_delivery_tag()
        message["properties"]["delivery_tag"] = tag
        self._held[tag] = lease
        return queue, message

    def drain_events(self, timeout: float | None = None, callback: Any = None) -> None:
        self._renew_held()
        super().drain_events(timeout=timeout, callback=callback)

    def _poll(self, cycle: Any, callback: Any, timeout: float | None = None) -> None:
        """One look at all queues at once, oldest message first."""
        queue, message = self._take(list(self._active_queues))
        callback(message, queue)

    def _renew_held(self) -> None:
        if self._held and monotonic() - self._renewed > RENEW_SECONDS:
            self.store.renew([lease.key for lease in self._held.values()])
            self._renewed = monotonic()

    def settle(self, delivery_tag: str) -> None:
        lease = self._held.pop(delivery_tag, None)
        if lease is not None:
            self.store.delete(lease.key)

    def give_back(self, delivery_tag: str) -> None:
        lease = self._held.pop(delivery_tag, None)
        if lease is not None:
            self.store.release(lease)

    def _restore(self, message: Any) -> None:
        self.give_back(message.delivery_tag)

    def _size(self, queue: str) -> int:
        return self.store.count(queue)

    def _purge(self, queue: str) -> int:
        return self.store.purge(queue)


class Transport(virtual.Transport):
    Channel = Channel
    default_port = 0  # type: ignore[assignment]
    driver_type = "database"
    driver_name = "django"
    polling_interval = 0.1
    connection_errors = (*virtual.Transport.connection_errors, DatabaseError)  # type: ignore[assignment]
    # In the event loop each pool child has pipes of its own. Without it they share one under a lock, which a child
    # that is killed while it waits takes along: the worker would live on and never work again.
    implements = virtual.Transport.implements.extend(asynchronous=True, exchange_type=frozenset(["direct"]))

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.store = Store()
        self._looking: Any = None

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        self._looking = loop.call_repeatedly(self.polling_interval, self._look)

    def _look(self) -> None:
        """Take what the worker may hold, up to a moment's worth, and come back."""
        with suppress(Empty):
            for _ in range(LOOK_AT_MOST):
                self.cycle.get(self._deliver)  # type: ignore[union-attr]

    def driver_version(self) -> str:
        return "1"

    def close_connection(self, connection: Any) -> None:
        if self._looking is not None:
            self._looking.cancel()
        super().close_connection(connection)
        self.store.close()
