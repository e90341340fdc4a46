"""The queues of RabbitMQ: one channel a queue, acknowledged after the commit, poison set aside under confirms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from amqp.exceptions import ChannelError
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.exceptions import OperationalError

from crm_integration import broker, queue_door
from workers.queue_doors import PARKED_DAYS, PARKED_MOST, REASON_HEADER, Depth, Take

HEARTBEAT_SECONDS = 20
CONNECT_SECONDS = 5
CONFIRM_SECONDS = 10
PREFETCH = 20
# A message that ended its consumer so often is set aside by the broker. Not fewer: each one that is held when a
# consumer is killed counts too.
DELIVERY_LIMIT = 100


def queues(name: str) -> tuple[Queue, Queue]:
    """A connection's queue and the one beside it. A sender needs the right to write to the exchange of this name."""
    dead = broker.parked_queue(name)
    limits = {"x-max-length": PARKED_MOST, "x-message-ttl": PARKED_DAYS * 24 * 3600 * 1000}
    waiting = {
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead,
    }
    exchange = Exchange(name, type="direct", durable=True)
    quorum = {"x-queue-type": "quorum"}
    return (
        Queue(name, exchange, routing_key=name, queue_arguments={**quorum, **waiting}),
        Queue(dead, queue_arguments={**quorum, **limits}),
    )


class AmqpDoors:
    def __init__(self, url: str, take: Take) -> None:
        self._take = take
        self._connection = Connection(
            url,
            heartbeat=HEARTBEAT_SECONDS,
            connect_timeout=CONNECT_SECONDS,
            transport_options={"confirm_publish": True, "max_retries": 1, "interval_start": 0},
        )
        self.errors = (
            *self._connection.connection_errors,
            *self._connection.channel_errors,
            OperationalError,
        )
        self._readers: dict[int, tuple[str, Consumer]] = {}

    def __enter__(self) -> Self:
        self._connection.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._readers.clear()
        if error is None:
            with suppress(*self.errors):
                self._connection.close()
                return
        # Closing in form would wait for an answer that may never come.
        self._connection.collect()

    def follow(self, queues: Mapping[int, str]) -> Mapping[int, str]:
        for key in [key for key, (name, _reader) in self._readers.items() if queues.get(key) != name]:
            self._leave(key)
        problems = {}
        for key, name in queues.items():
            if key not in self._readers:
                try:
                    self._join(key, name)
                except ChannelError as error:
                    # Another installation's queue, or no right to it: the others go on.
                    problems[key] = str(error)
        return problems

    def drain(self, seconds: float) -> None:
        self._connection.heartbeat_check()
        with suppress(TimeoutError):
            self._connection.drain_events(timeout=seconds)

    def depth(self, connection_id: int) -> Depth:
        name = self._readers[connection_id][0]
        return Depth(self._count(name), self._count(broker.parked_queue(name)))

    def _count(self, name: str) -> int:
        channel = self._connection.default_channel
        return int(channel.queue_declare(queue=name, passive=True).message_count)

    def _join(self, key: int, name: str) -> None:
        channel = self._connection.channel()
        # Signatures are made over the bytes that were sent, whatever encoding a header names.
        channel.auto_decode = False
        waiting, dead = queues(name)
        dead(channel).declare()
        reader = Consumer(
            channel, [waiting], on_message=partial(self._receive, key, name), prefetch_count=PREFETCH
        )
        reader.consume()
        self._readers[key] = (name, reader)

    def _leave(self, key: int) -> None:
        """What was fetched and not looked at goes back with the channel."""
        _name, reader = self._readers.pop(key)
        channel: Any = reader.channel
        channel.close()

    def _receive(self, key: int, name: str, message: Any) -> None:
        letter = queue_door.letter(
            message.body,
            headers=message.headers,
            content_type=message.content_type,
            message_id=message.properties.get("message_id"),
        )
        verdict = self._take(key, letter)
        if verdict.is_returned:
            message.requeue()
            return
        if verdict.parked_because:
            self._park(name, message, verdict.parked_because)
        message.ack()

    def _park(self, name: str, message: Any, reason: str) -> None:
        """Copied before the original goes: killed in between, it is there twice."""
        properties = {
            field: value
            for field, value in message.properties.items()
            if field in {"message_id", "correlation_id", "type", "timestamp", "app_id"}
        }
        with self._connection.channel() as channel, _in_time():
            Producer(channel, auto_declare=False).publish(
                message.body,
                exchange="",
                routing_key=broker.parked_queue(name),
                headers={**(message.headers or {}), REASON_HEADER: reason},
                content_type=message.content_type or "application/octet-stream",
                content_encoding=message.content_encoding or "binary",
                confirm_timeout=CONFIRM_SECONDS,
                **properties,
            )


@contextmanager
def _in_time() -> Iterator[None]:
    """A broker that confirms nothing is a broken one; a timeout alone would read as a quiet queue."""
    try:
        yield
    except TimeoutError as error:
        raise OperationalError("the broker did not confirm") from error
