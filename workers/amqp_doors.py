"""The queues of RabbitMQ: one channel a queue, acknowledged after the commit, poison set aside under confirms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from amqp.exceptions import ChannelError, NotFound
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.exceptions import OperationalError

from crm_integration import broker, queue_door
from crm_integration.queue_door import Letter
from workers.queue_doors import PARKED_DAYS, PARKED_MOST, REASON_HEADER, SINCE_HEADER, Depth, Take

HEARTBEAT_SECONDS = 20
CONNECT_SECONDS = 5
CONFIRM_SECONDS = 10
OPTIONS = {"confirm_publish": True, "max_retries": 1, "interval_start": 0}
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
            transport_options=OPTIONS,
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
        verdict = self._take(key, _letter(message))
        if verdict.is_returned:
            message.requeue()
            return
        if verdict.parked_because:
            self._park(name, message, verdict.parked_because)
        message.ack()

    def _park(self, name: str, message: Any, reason: str) -> None:
        """Copied before the original goes: killed in between, it is there twice."""
        labels = {REASON_HEADER: reason, SINCE_HEADER: int(time.time())}
        with self._connection.channel() as channel:
            _set_aside(channel, broker.parked_queue(name), message, labels)


def sift(url: str, name: str, must_go: Callable[[Letter], bool]) -> int:
    """Remove from the queue beside `name` the letters that must go. The others are put at its end, each under a confirm
    before its original goes, and keep the day on which they end. Raises ChannelError while somebody else is sifting."""
    dead = broker.parked_queue(name)
    with Connection(url, connect_timeout=CONNECT_SECONDS, transport_options=OPTIONS) as connection:
        channel = connection.channel()
        channel.auto_decode = False
        # Nobody else can make it until this connection ends: of two who take turns at letters, each would miss some.
        channel.queue_declare(queue=f"{dead}.sifting", exclusive=True)
        try:
            count = channel.queue_declare(queue=dead, passive=True).message_count
        except NotFound:
            return 0
        queue = Queue(dead)(channel)
        return sum(_sifted(channel, queue, must_go) for _letter in range(count))


def _sifted(channel: Any, queue: Queue, must_go: Callable[[Letter], bool]) -> bool:
    """Whether the letter at the head of the queue went."""
    message = queue.get()
    if message is None:
        return False
    left = _seconds_left(message)
    goes = left <= 0 or must_go(_letter(message))
    if not goes:
        _set_aside(channel, queue.name, message, {}, expiration=left)
    message.ack()
    return goes


def _seconds_left(message: Any) -> float:
    """Until a letter that was set aside ends; the broker's own dead letters do not say since when they lie there."""
    since = (message.headers or {}).get(SINCE_HEADER)
    age = time.time() - since if isinstance(since, int) else 0.0
    return PARKED_DAYS * 24 * 3600 - age


def _letter(message: Any) -> Letter:
    return queue_door.letter(
        message.body,
        headers=message.headers,
        content_type=message.content_type,
        message_id=message.properties.get("message_id"),
    )


def _set_aside(
    channel: Any, queue: str, message: Any, labels: Mapping[str, Any], *, expiration: float | None = None
) -> None:
    """Publish a message to a queue of letters, confirmed on return. expiration: seconds."""
    properties = {
        field: value
        for field, value in message.properties.items()
        if field in {"message_id", "correlation_id", "type", "timestamp", "app_id"}
    }
    with _in_time():
        Producer(channel, auto_declare=False).publish(
            message.body,
            exchange="",
            routing_key=queue,
            headers={**(message.headers or {}), **labels},
            content_type=message.content_type or "application/octet-stream",
            content_encoding=message.content_encoding or "binary",
            confirm_timeout=CONFIRM_SECONDS,
            expiration=expiration,
            **properties,
        )


@contextmanager
def _in_time() -> Iterator[None]:
    """A broker that confirms nothing is a broken one; a timeout alone would read as a quiet queue."""
    try:
        yield
    except TimeoutError as error:
        raise OperationalError("the broker did not confirm") from error
