"""The embedded broker keeps a message until the work is acknowledged, whoever dies."""

from __future__ import annotations

from queue import Empty

import pytest
from django.db import OperationalError, connection
from kombu import Connection, Queue

import workers.celery  # noqa: F401
from workers.models import QueuedMessage
from workers.transport import MAX_DELIVERIES, Store

pytestmark = pytest.mark.django_db(transaction=True)

QUEUE = Queue("score")


@pytest.fixture
def broker():
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        pytest.skip("an in-memory database cannot be shared by two connections")
    with Connection("embedded://database") as open_connection:
        yield open_connection


def publish(broker, body):
    broker.Producer().publish(body, routing_key="score", serializer="json")


def receive(broker):
    channel = broker.channel()
    return channel, QUEUE(channel).get(accept=["json"])


def lapse_leases():
    QueuedMessage.objects.update(leased_until=1)


def test_a_message_arrives_and_acknowledging_removes_it(broker):
    publish(broker, {"run": 7})
    _, message = receive(broker)
    assert message.payload == {"run": 7}
    assert QueuedMessage.objects.count() == 1
    message.ack()
    assert QueuedMessage.objects.count() == 0


def test_a_taken_message_is_hidden_from_others(broker):
    publish(broker, {"run": 7})
    receive(broker)
    assert receive(broker)[1] is None


def test_the_message_of_a_dead_worker_is_delivered_again(broker):
    publish(broker, {"run": 7})
    receive(broker)
    lapse_leases()
    assert receive(broker)[1].payload == {"run": 7}


def test_a_rejected_message_with_requeue_comes_back_at_once(broker):
    publish(broker, {"run": 7})
    _, message = receive(broker)
    message.reject(requeue=True)
    assert receive(broker)[1].payload == {"run": 7}


def test_closing_a_channel_gives_its_messages_back(broker):
    publish(broker, {"run": 7})
    channel, _message = receive(broker)
    channel.close()
    assert receive(broker)[1].payload == {"run": 7}


def test_a_late_release_does_not_free_what_another_worker_holds(broker):
    publish(broker, {"run": 7})
    _, late = receive(broker)
    lapse_leases()
    receive(broker)
    late.reject(requeue=True)
    assert receive(broker)[1] is None


def test_messages_keep_their_order(broker):
    for number in range(5):
        publish(broker, {"run": number})
    assert [receive(broker)[1].payload["run"] for _ in range(5)] == list(range(5))


def test_a_message_that_kills_every_worker_is_dropped(broker):
    publish(broker, {"run": 7})
    store = Store()
    for _ in range(MAX_DELIVERIES):
        store.take(["score"])
        lapse_leases()
    with pytest.raises(Empty):
        store.take(["score"])
    assert QueuedMessage.objects.count() == 0
    store.close()


def test_renewing_keeps_a_lease_alive(broker):
    publish(broker, {"run": 7})
    store = Store()
    lease, _, _ = store.take(["score"])
    lapse_leases()
    store.renew([lease.key])
    with pytest.raises(Empty):
        store.take(["score"])
    store.close()


@pytest.mark.parametrize("end", ["ack", "reject"])
def test_a_message_that_a_full_disk_keeps_takes_up_no_place_in_the_worker(broker, monkeypatch, end):
    def full(self, key):
        raise OperationalError("database or disk is full")

    publish(broker, {"run": 7})
    channel, message = receive(broker)
    channel.basic_qos(0, 1, False)
    assert not channel.qos.can_consume()
    monkeypatch.setattr(Store, "delete", full)
    with pytest.raises(OperationalError):
        getattr(message, end)()
    assert channel.qos.can_consume()
    lapse_leases()
    assert receive(broker)[1].payload == {"run": 7}
