"""The message-queue door on real brokers: whatever is killed, cut or poisoned, each message is stored once."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection as database
from kombu import Connection as Broker

from crm_integration import broker as names
from crm_integration.models import Connection, InboundMessage, QueueStatus, RefusedDelivery
from segmentation.models import LeaseState
from tests.crm_integration import fixtures
from tests.flows.conftest import database_url, wait_until
from tests.support.brokers import Proxy, reachable
from workers.demo.processes import Process
from workers.queue_doors import REASON_HEADER

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.services]

PATIENCE = 180
PYTHON = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs/queues.md").read_text(), re.DOTALL
)
# A consumer that dies of kill -9 after the commit of its N-th message, before it can acknowledge it.
DIES_AFTER_COMMIT = """
import os, signal, sys
import django
django.setup()
from django.core.management import call_command
from crm_integration import inbox
real, left = inbox.receive, [int(sys.argv[1])]
def receive(*args, **options):
    answer = real(*args, **options)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
inbox.receive = receive
call_command("consume")
"""


@pytest.fixture(params=["rabbitmq", "redis"])
def broker(request, settings):
    found = reachable(request.param, settings)
    yield found
    found.forget(settings.CELERY_QUEUE_PREFIX)


@pytest.fixture
def connection(broker, transactional_db):
    return fixtures.connection(reads_queue=True)


@pytest.fixture
def queue(connection):
    return names.inbound_queue(connection)


@pytest.fixture
def start(broker, connection, queue, tmp_path):
    """Starts consumers of their own; returns when the queue is there. Every one is stopped in the end."""
    running = []

    def begin(*command, **environment):
        log = tmp_path / f"consumer-{len(running)}.log"
        process = Process("consumer", command or [sys.executable, "manage.py", "consume"], log=log, environment={
            "DATABASE_URL": database_url(),
            "CELERY_BROKER_URL": broker.url,
            "CELERY_QUEUE_PREFIX": django_settings.CELERY_QUEUE_PREFIX,
            "TIERWISE_VAR": str(django_settings.VAR_DIR),
            "JOB_SENDER": "tests.support.jobs.record",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            **environment,
        })  # fmt: skip
        running.append(process)
        wait_until(lambda: hears(connection), seconds=PATIENCE, alive=process.check)
        return process

    yield begin
    for process in running:
        process.stop()


def hears(connection):
    """Whether a consumer has made the queue and looked at it."""
    return QueueStatus.objects.filter(connection=connection).exists()


def signed(connection, body, message_id):
    return fixtures.signed_headers(connection.inbound_secret, body, message_id=message_id)


def publish_orders(broker, connection, queue, count, *, first=0):
    options = {} if broker.is_redis else {"confirm_publish": True}
    with Broker(broker.url, transport_options=options) as link:
        producer = link.Producer()
        for number in range(first, first + count):
            body = json.dumps(fixtures.order(f"o-{number}", f"c-{number % 50}")).encode()
            producer.publish(
                body.decode(), exchange=queue, routing_key=queue, headers=signed(connection, body, f"m-{number}"),
                content_type="application/json", content_encoding="utf-8", mandatory=True,
            )  # fmt: skip


def stored():
    return InboundMessage.objects.count()


def keys():
    return sorted(InboundMessage.objects.values_list("dedupe_key", flat=True))


def settled(broker, queue, count, process):
    """All stored, all acknowledged."""
    wait_until(lambda: stored() >= count, seconds=PATIENCE, alive=process.check)
    wait_until(lambda: broker.waiting(queue) == 0, seconds=PATIENCE, alive=process.check)


def test_the_documented_sender_is_heard_and_its_repeat_is_no_second_message(broker, connection, queue, start):
    process = start()
    example: dict = {}
    exec(PYTHON[0], example)
    event = fixtures.order()
    for _time in range(2):
        example["send"](broker.url, queue, connection.inbound_secret, "m-1", event)
    settled(broker, queue, 1, process)
    message = InboundMessage.objects.get()
    assert (message.dedupe_key, message.state) == ("m-1", LeaseState.QUEUED)
    assert json.loads(bytes(message.body))["data"]["order_id"] == "o-1"
    status = wait_until(
        lambda: QueueStatus.objects.filter(last_message_at__isnull=False).first(), seconds=PATIENCE
    )
    assert (status.waiting, status.parked) == (0, 0)


def test_the_documented_envelope_is_what_redis_lists_hold(broker, connection, queue, start):
    if not broker.is_redis:
        pytest.skip("the envelope is for Redis")
    process = start()
    example: dict = {}
    exec(PYTHON[1], example)
    event = fixtures.order()
    example["push"](broker.url, queue, "m-1", event, signed(connection, json.dumps(event).encode(), "m-1"))
    settled(broker, queue, 1, process)


def test_five_hundred_messages_are_stored_once_by_two_consumers(broker, connection, queue, start):
    process, other = start(), start()
    publish_orders(broker, connection, queue, 500)
    settled(broker, queue, 500, process)
    assert keys() == sorted(f"m-{number}" for number in range(500))
    assert not RefusedDelivery.objects.exists()
    for one in (process, other):
        one.child.send_signal(signal.SIGTERM)
        assert one.child.wait(PATIENCE) == 0


def test_a_consumer_killed_between_commit_and_acknowledgement_stores_nothing_twice(
    broker, connection, queue, start
):
    doomed = start(sys.executable, "-c", DIES_AFTER_COMMIT, "7")
    publish_orders(broker, connection, queue, 30)
    assert doomed.child.wait(PATIENCE) == -signal.SIGKILL
    assert stored() == 7
    assert broker.waiting(queue) >= 24  # the seventh is stored and still in the queue
    process = start()
    settled(broker, queue, 30, process)
    assert stored() == 30
    assert not RefusedDelivery.objects.exists()


def test_a_cut_connection_is_made_anew_and_nothing_is_lost(broker, connection, queue, start):
    proxy = Proxy(broker.url, 6379 if broker.is_redis else 5672)
    process = start(CELERY_BROKER_URL=proxy.url)
    publish_orders(broker, connection, queue, 150)
    for part in (20, 60, 100):
        wait_until(lambda part=part: stored() >= part, seconds=PATIENCE, alive=process.check)
        wait_until(proxy.cut, seconds=PATIENCE, alive=process.check)
    proxy.refusing = True
    proxy.cut()
    publish_orders(broker, connection, queue, 50, first=150)
    proxy.refusing = False
    settled(broker, queue, 200, process)
    assert stored() == 200
    proxy.refusing = True
    proxy.cut()
    seen = process.log.read_bytes().count(b"consumer.away")
    wait_until(
        lambda: process.log.read_bytes().count(b"consumer.away") > seen + 1,
        seconds=PATIENCE,
        alive=process.check,
    )
    process.child.send_signal(signal.SIGTERM)
    assert process.child.wait(PATIENCE) == 0
    proxy.close()


def test_poison_is_set_aside_with_its_reason_and_holds_up_nobody(broker, connection, queue, start):
    process = start(INBOUND_MAX_BYTES="2000")
    good = json.dumps(fixtures.order()).encode()
    for body, message_id in (
        (b"{broken", "m-1"),
        (b'["no object"]', "m-2"),
        (b'{"x": "%s"}' % (b"x" * 2000), "m-3"),
    ):
        broker.send(queue, body.decode(), headers=signed(connection, body, message_id))
    broker.send(queue, good.decode(), headers={**signed(connection, good, "m-4"), "webhook-id": "m-5"})
    broker.send(queue, good.decode(), headers={})
    if broker.is_redis:
        with Broker(broker.url) as link:
            link.default_channel.client.lpush(queue, b"no envelope \xff")
    broker.send(queue, good.decode(), headers=signed(connection, good, "m-6"))
    settled(broker, queue, 1, process)
    assert keys() == ["m-6"]
    reasons = [headers[REASON_HEADER] for headers, _body in broker.read(names.parked_queue(queue))]
    expected = ["not_a_json_object", "not_a_json_object", "too_large", "wrong_signature", "missing_headers"]
    assert sorted(reasons) == sorted(expected + (["unreadable_body"] if broker.is_redis else []))
    counted = dict(RefusedDelivery.objects.values_list("reason", "count"))
    assert counted == {reason: reasons.count(reason) for reason in reasons}


def test_what_is_set_aside_holds_the_message_as_it_came(broker, connection, queue, start):
    start()
    body = b'{"a": "\xff"}'
    broker.send(queue, body, headers=signed(connection, body, "m-1"), message_id="m-1",
                content_type="application/octet-stream", content_encoding="binary")  # fmt: skip
    parked = names.parked_queue(queue)
    wait_until(lambda: broker.waiting(parked), seconds=PATIENCE)
    [(headers, kept)] = broker.read(parked)
    assert kept == body
    assert headers["webhook-id"] == "m-1"


def test_a_connection_is_heard_from_when_it_is_switched_on_and_not_when_off(broker, connection, queue, start):
    process = start()
    Connection.objects.filter(pk=connection.pk).update(reads_queue=False)
    other = fixtures.connection("other", reads_queue=True, queue_must_sign=False)
    wait_until(lambda: hears(other), seconds=PATIENCE, alive=process.check)
    broker.send(queue, json.dumps(fixtures.order()), message_id="off")
    broker.send(names.inbound_queue(other), json.dumps(fixtures.order()), message_id="on")
    wait_until(stored, seconds=PATIENCE, alive=process.check)
    assert keys() == ["on"]
    Connection.objects.filter(pk=connection.pk).update(reads_queue=True, queue_must_sign=False)
    wait_until(lambda: stored() == 2, seconds=PATIENCE, alive=process.check)
    assert keys() == ["off", "on"]


def test_cloud_events_come_in_both_modes(broker, queue, start):
    Connection.objects.update(queue_must_sign=False)
    process = start()
    time = "2026-11-01T10:00:00Z"
    data = {"order_id": "A-1", "customer": "C-1", "amount": "5.00"}
    attributes = {"specversion": "1.0", "id": "ev-1", "source": "/till", "type": "order.placed", "time": time}
    broker.send(queue, json.dumps({**attributes, "data": data}), content_type="application/cloudevents+json")
    in_headers = {f"ce-{name}": value for name, value in (attributes | {"id": "ev-2"}).items()}
    broker.send(queue, json.dumps(data), headers=in_headers)
    settled(broker, queue, 2, process)
    assert keys() == ["ev-1", "ev-2"]
    bodies = {bytes(body) for body in InboundMessage.objects.values_list("body", flat=True)}
    assert [json.loads(body) for body in bodies] == [
        {"type": "order.placed", "timestamp": time, "data": data}
    ]


DATABASE_REFUSES = """
import sys
import django
django.setup()
from pathlib import Path
from django.core.management import call_command
from django.db import OperationalError
from crm_integration import inbox
real = inbox.receive
def receive(*args, **options):
    if Path(sys.argv[1]).exists():
        raise OperationalError("the database refuses")
    return real(*args, **options)
inbox.receive = receive
call_command("consume")
"""


def test_while_the_database_refuses_nothing_is_acknowledged_and_then_all_is_stored(
    broker, connection, queue, start, tmp_path
):
    marker = tmp_path / "away"
    marker.touch()
    process = start(sys.executable, "-c", DATABASE_REFUSES, str(marker))
    publish_orders(broker, connection, queue, 25)
    wait_until(
        lambda: process.log.read_bytes().count(b"consumer.away") >= 2, seconds=PATIENCE, alive=process.check
    )
    assert stored() == 0
    marker.unlink()
    settled(broker, queue, 25, process)
    assert stored() == 25
    assert broker.read(names.parked_queue(queue)) == []


def test_without_a_broker_the_command_says_so(settings, transactional_db):
    settings.CELERY_BROKER_URL = "embedded://"
    with pytest.raises(CommandError, match="no queue door"):
        call_command("consume")


def test_the_consumer_brings_no_learning_library_along(broker, start):
    process = start()
    maps = Path(f"/proc/{process.child.pid}/maps")
    if not maps.exists() or os.name != "posix":
        pytest.skip("needs /proc")
    assert "libtorch" not in maps.read_text()


def test_a_database_that_is_cut_off_gets_every_message_when_it_is_back(broker, connection, queue, start):
    if database.vendor != "postgresql":
        pytest.skip("needs PostgreSQL: SQLite is not reached by a network")
    proxy = Proxy(database_url(), 5432)
    process = start(DATABASE_URL=proxy.url)
    publish_orders(broker, connection, queue, 60)
    wait_until(lambda: stored() >= 10, seconds=PATIENCE, alive=process.check)
    proxy.refusing = True
    proxy.cut()
    publish_orders(broker, connection, queue, 20, first=60)
    wait_until(
        lambda: process.log.read_bytes().count(b"consumer.away") >= 2, seconds=PATIENCE, alive=process.check
    )
    proxy.refusing = False
    settled(broker, queue, 80, process)
    assert stored() == 80
    assert broker.read(names.parked_queue(queue)) == []
    process.stop()
    proxy.close()
