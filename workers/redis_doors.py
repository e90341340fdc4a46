"""The queues of Redis: lists of kombu envelopes, moved to a list of the consumer's own while it works on one.

kombu's own consumer removes a message before it writes it down as taken, and cannot get past an element that is no
envelope. Here LMOVE does both at once, and what a killed consumer held is given back when its sign of life runs out.
"""

from __future__ import annotations

import base64
import binascii
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import orjson
from django.conf import settings
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from crm_integration import broker, queue_door
from crm_integration.queue_door import Letter
from workers.queue_doors import PARKED_DAYS, PARKED_MOST, REASON_HEADER, Depth, Take

# How long a killed consumer's message waits. A slower one may meet its message again, which changes nothing.
LIFE_SECONDS = 30
SIGN_EVERY = 5.0
# One try to connect: the consumer has a pause of its own, in which it can be told to stop.
OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 5, "max_retries": 1, "interval_start": 0}
IDLE_SECONDS = 0.1
PAGE = 100
# kombu keeps a list for each of these priorities, the first one without a suffix.
SUFFIXES = ("", "\x06\x163", "\x06\x166", "\x06\x169")


class RedisDoors:
    errors: tuple[type[BaseException], ...] = (RedisError, OSError, OperationalError)

    def __init__(self, url: str, take: Take) -> None:
        self._take = take
        self._me = uuid.uuid4().hex
        self._names: dict[int, str] = {}
        self._signed_at = 0.0
        self._kombu = Connection(url, transport_options=OPTIONS)

    def __enter__(self) -> Self:
        self._redis.ping()
        self._sign()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(*self.errors):
            self._give_back(self._me)
            self._redis.delete(self._life(self._me))
        with suppress(*self.errors):
            self._kombu.close()

    @property
    def _redis(self) -> Any:
        channel: Any = self._kombu.default_channel
        return channel.client

    def follow(self, queues: Mapping[int, str]) -> Mapping[int, str]:
        for key, name in queues.items():
            if self._names.get(key) != name:
                # So that a producer may publish to the exchange of this name, as with RabbitMQ.
                Queue(name, Exchange(name, type="direct"), routing_key=name)(
                    self._kombu.default_channel
                ).declare()
                self._redis.sadd(self._register, f"{self._me} {name}")
        self._names = dict(queues)
        return {}

    def drain(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            self._sign()
            handled = [self._next(key, name) for key, name in self._names.items()]
            if any(handled) or time.monotonic() >= until:
                return
            time.sleep(IDLE_SECONDS)

    def depth(self, connection_id: int) -> Depth:
        name = self._names[connection_id]
        waiting = sum(self._redis.llen(name + suffix) for suffix in SUFFIXES)
        return Depth(waiting, self._redis.llen(broker.parked_queue(name)))

    def _next(self, key: int, name: str) -> bool:
        """Handle the oldest message of the most urgent list; False when there is none."""
        mine = self._taken(self._me, name)
        for suffix in SUFFIXES:
            raw = self._redis.lmove(name + suffix, mine, "RIGHT", "LEFT")
            if raw is not None:
                self._handle(key, name, bytes(raw))
                return True
        return False

    def _handle(self, key: int, name: str, raw: bytes) -> None:
        verdict = self._take(key, opened(raw))
        with self._redis.pipeline(transaction=True) as steps:
            if verdict.is_returned:
                steps.rpush(name, raw)
            elif verdict.parked_because:
                dead = broker.parked_queue(name)
                steps.lpush(dead, _labelled(raw, verdict.parked_because, dead))
                steps.ltrim(dead, 0, PARKED_MOST - 1)
                steps.expire(dead, PARKED_DAYS * 24 * 3600)
            steps.lrem(self._taken(self._me, name), 1, raw)
            steps.execute()

    # --- signs of life
    @property
    def _register(self) -> str:
        return f"{settings.CELERY_QUEUE_PREFIX}tierwise.consumers"

    def _life(self, consumer: str) -> str:
        return f"{settings.CELERY_QUEUE_PREFIX}tierwise.consumer.{consumer}"

    def _taken(self, consumer: str, name: str) -> str:
        return f"{name}.taken.{consumer}"

    def _sign(self) -> None:
        """Say that this consumer lives, and take care of those that no longer do."""
        if time.monotonic() - self._signed_at < SIGN_EVERY:
            return
        self._redis.set(self._life(self._me), 1, ex=LIFE_SECONDS)
        self._signed_at = time.monotonic()
        for consumer in {consumer for consumer, _name in self._registered()}:
            if not self._redis.exists(self._life(consumer)):
                self._give_back(consumer)

    def _registered(self) -> Iterator[tuple[str, str]]:
        for member in self._redis.smembers(self._register):
            consumer, _space, name = member.decode().partition(" ")
            yield consumer, name

    def _give_back(self, consumer: str) -> None:
        for name in [name for one, name in self._registered() if one == consumer]:
            while self._redis.lmove(self._taken(consumer, name), name, "LEFT", "RIGHT") is not None:
                pass
            self._redis.srem(self._register, f"{consumer} {name}")


def sift(url: str, name: str, must_go: Callable[[Letter], bool]) -> int:
    """Remove from the list beside `name` the letters that must go; the others stay as they are."""
    dead = broker.parked_queue(name)
    gone = kept = 0
    with Connection(url, transport_options=OPTIONS) as connection:
        channel: Any = connection.default_channel
        # From the tail: what is set aside meanwhile comes in at the head, and moves none of these places.
        while page := channel.client.lrange(dead, -(kept + PAGE), -(kept + 1)):
            going = [raw for raw in page if must_go(opened(raw) or queue_door.letter(raw, headers=None))]
            gone += sum(channel.client.lrem(dead, 0, raw) for raw in going)
            kept += len(page) - len(going)
    return gone


def opened(raw: bytes) -> Letter | None:
    """The letter in a kombu envelope; None when it is none."""
    try:
        envelope = orjson.loads(raw)
        properties = envelope.get("properties") or {}
        body = envelope["body"]
        if properties.get("body_encoding") == "base64":
            body = base64.b64decode(body, validate=True)
        return queue_door.letter(
            body,
            headers=dict(envelope.get("headers") or {}),
            content_type=envelope.get("content-type"),
            message_id=properties.get("message_id"),
        )
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError, binascii.Error):
        return None


def _labelled(raw: bytes, reason: str, queue: str) -> bytes:
    """The envelope with the reason among its headers; what is no envelope becomes the body of one."""
    if opened(raw) is not None:
        envelope = orjson.loads(raw)
    else:
        envelope = {
            "body": base64.b64encode(raw).decode(),
            "content-type": "application/octet-stream",
            "content-encoding": "binary",
            "properties": {
                "body_encoding": "base64",
                "delivery_tag": uuid.uuid4().hex,
                "delivery_info": {"exchange": "", "routing_key": queue},
            },
        }
    envelope["headers"] = {**(envelope.get("headers") or {}), REASON_HEADER: reason}
    return orjson.dumps(envelope)
