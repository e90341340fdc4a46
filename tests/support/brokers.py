"""Real brokers for tests: found on this machine or named by the environment, with names of the test's own."""

from __future__ import annotations

import base64
import json
import os
import socket
import uuid
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from urllib.parse import urlsplit

import pytest
from kombu import Connection

from crm_integration import broker as names

ADDRESSES = {"rabbitmq": "amqp://guest:guest@127.0.0.1:5672//", "redis": "redis://127.0.0.1:6379/14"}
SCHEMES = {"rabbitmq": "amqp", "redis": "redis"}


@dataclass
class Broker:
    kind: str
    url: str

    @property
    def is_redis(self):
        return self.kind == "redis"

    def send(self, queue, body, **properties):
        """As documented for senders, with any content."""
        options = {} if self.is_redis else {"confirm_publish": True}
        with Connection(self.url, transport_options=options) as connection:
            connection.Producer().publish(
                body, exchange=queue, routing_key=queue, mandatory=True, delivery_mode="persistent",
                **{"content_type": "application/json", "content_encoding": "utf-8", **properties},
            )  # fmt: skip

    def waiting(self, queue):
        with Connection(self.url) as connection:
            channel = connection.default_channel
            if self.is_redis:
                held = list(channel.client.scan_iter(f"{queue}.taken.*"))
                return channel.client.llen(queue) + sum(channel.client.llen(key) for key in held)
            return channel.queue_declare(queue=queue, passive=True).message_count

    def read(self, queue):
        """(headers, body) of everything in a queue, which is emptied."""
        if self.is_redis:
            return self._read_lists(queue)
        found = []
        with Connection(self.url) as connection:
            channel = connection.default_channel
            while message := channel.basic_get(queue=queue):
                found.append((dict(message.properties.get("application_headers") or {}), message.body))
                channel.basic_ack(message.delivery_tag)
        return [(headers, body.encode() if isinstance(body, str) else body) for headers, body in found]

    def _read_lists(self, queue):
        found = []
        with Connection(self.url) as connection:
            while raw := connection.default_channel.client.rpop(queue):
                envelope = json.loads(raw)
                body = envelope["body"]
                coded = envelope["properties"].get("body_encoding") == "base64"
                found.append((envelope["headers"], base64.b64decode(body) if coded else body.encode()))
        return found

    def forget(self, prefix):
        """Remove what tests made under a prefix; RabbitMQ's names are known, Redis is asked."""
        with Connection(self.url) as connection:
            channel = connection.default_channel
            if self.is_redis:
                for key in [*channel.client.scan_iter(f"*{prefix}*")]:
                    channel.client.delete(key)
                return
            for slug in ("shop", "other"):
                queue = f"{prefix}tierwise.in.{slug}"
                for name in (queue, names.parked_queue(queue)):
                    channel.queue_delete(queue=name)
                channel.exchange_delete(exchange=queue)
            channel.queue_delete(queue=f"{prefix}receiver")
            channel.exchange_delete(exchange=f"{prefix}tierwise.decisions")


def reachable(kind, settings):
    """The broker, with a prefix of the test's own, or a skip that says which one does not answer."""
    url = settings.CELERY_BROKER_URL
    if not url.startswith(SCHEMES[kind]):
        url = os.environ.get(f"TEST_{kind.upper()}_URL", ADDRESSES[kind])
    try:
        with Connection(
            url, connect_timeout=2, transport_options={"socket_connect_timeout": 2}
        ) as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
    except Exception as error:
        pytest.skip(f"{kind} does not answer at {urlsplit(url).hostname}: {type(error).__name__}")
    settings.CELERY_BROKER_URL = url
    settings.CELERY_QUEUE_PREFIX = f"{settings.CELERY_QUEUE_PREFIX}{uuid.uuid4().hex[:6]}."
    return Broker(kind, url)


class Proxy:
    """Passes bytes on to a server; `cut` ends every connection at once, `refusing` takes no new ones.

    What holds the bytes `swallows` is taken and never passed on, as by a server that dies with it.
    """

    def __init__(self, url: str, default_port: int) -> None:
        parts = urlsplit(url)
        self.target = (parts.hostname, parts.port or default_port)
        self.refusing = False
        self.swallows = b""
        self.open: list[socket.socket] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        login = f"{parts.username}:{parts.password or ''}@" if parts.username else ""
        self.url = parts._replace(netloc=f"{login}127.0.0.1:{self.port}").geturl()
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _address = self.server.accept()
                if self.refusing:
                    near.close()
                    continue
                far = socket.create_connection(self.target)
                self.open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self.swallows or self.swallows not in data:
                    sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self) -> int:
        cut, self.open = self.open, []
        for one in cut:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        return len(cut)

    def close(self) -> None:
        self.server.close()
        self.cut()
