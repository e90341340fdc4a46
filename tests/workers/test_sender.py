"""A request that nudges a worker never hangs on the broker."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from threading import Event, Thread
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from kombu import Connection
from kombu.exceptions import OperationalError

from segmentation.jobs import Job
from workers import sender
from workers.celery import app


class Proxy:
    """Passes bytes on to the broker until `stalled`; then it keeps the connection and passes nothing."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.flowing = Event()
        self.flowing.set()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _address = self.server.accept()
                far = socket.create_connection(self.target)
                for source, sink in ((near, far), (far, near)):
                    Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.flowing.wait()
                sink.sendall(data)


@pytest.fixture
def proxy(monkeypatch):
    if not django_settings.CELERY_BROKER_URL.startswith("amqp"):
        pytest.skip("CELERY_BROKER_URL names no RabbitMQ")
    broker = urlsplit(django_settings.CELERY_BROKER_URL)
    running = Proxy(broker.hostname or "127.0.0.1", broker.port or 5672)
    address = broker._replace(netloc=f"{broker.username}:{broker.password}@127.0.0.1:{running.port}").geturl()
    quick = Connection(address, transport_options=app.conf.broker_transport_options)
    pool = quick.Pool(limit=1)
    monkeypatch.setattr(sender, "_producers", lambda: producers(pool))
    monkeypatch.setattr(sender, "_silent_until", 0.0)
    yield running
    running.flowing.set()
    with Connection(django_settings.CELERY_BROKER_URL) as direct:
        for queue in app.conf.task_queues:
            queue(direct.default_channel).delete()
    running.server.close()


def producers(connections):
    from celery.app.amqp import Producer
    from kombu.pools import ProducerPool

    class Pool(ProducerPool):
        def create_producer(self):
            return Producer(self._acquire_connection())

    return Pool(connections=connections, limit=1)


def test_a_broker_that_confirms_nothing_is_an_error_and_is_used_again_when_it_is_well(proxy, monkeypatch):
    sender.send(Job.SWEEP, {})
    proxy.flowing.clear()
    with pytest.raises(OperationalError):
        sender.send(Job.SWEEP, {})
    proxy.flowing.set()
    monkeypatch.setattr(sender, "_silent_until", 0.0)
    sender.send(Job.SWEEP, {})


SEND_TWICE = """
from time import monotonic
import workers.tasks
from segmentation.jobs import Job
from workers import sender
for _attempt in range(2):
    began = monotonic()
    try:
        sender.send(Job.SWEEP, {})
    except Exception as error:
        print(type(error).__name__, monotonic() - began)
"""


@pytest.mark.parametrize("scheme", ["redis://", "amqp://guest:guest@"])
def test_a_broker_that_takes_the_connection_and_never_answers_costs_about_a_second_once(scheme, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, nobody reads
        broker = f"{scheme}127.0.0.1:{silent.getsockname()[1]}/"
        environment = {**os.environ, "CELERY_BROKER_URL": broker, "TIERWISE_VAR": str(tmp_path)}
        told = subprocess.run(
            [sys.executable, "-c", SEND_TWICE], cwd=django_settings.BASE_DIR, env=environment,
            stdout=subprocess.PIPE, check=True, timeout=120,
        )  # fmt: skip
    (first, waited), (second, rested) = (line.split() for line in told.stdout.decode().splitlines()[-2:])
    assert (first, second) == ("OperationalError", "BrokerResting")
    assert float(waited) < 3
    assert float(rested) < 0.5


def test_after_a_failure_the_broker_is_left_alone_for_a_moment(monkeypatch):
    monkeypatch.setattr(sender, "_silent_until", sender.monotonic() + 60)
    with pytest.raises(sender.BrokerResting):
        sender.send(Job.SWEEP, {})
