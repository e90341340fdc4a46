"""A signed webhook becomes a delivered decision through real processes, whatever is killed on the way."""

from __future__ import annotations

import pytest

from crm_integration import signatures
from crm_integration.demo_receiver import DemoReceiver
from crm_integration.models import Connection, InboundMessage, OutboundMessage
from segmentation import starter
from segmentation.models import Customer, Decision, DueCustomer, Event, Shop
from tests.crm_integration import fixtures
from tests.flows.conftest import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 240


@pytest.fixture
def receiver(tmp_path):
    running = DemoReceiver(secret=signatures.generate_secret(), log=tmp_path / "deliveries.jsonl").start()
    yield running
    running.stop()


@pytest.fixture
def connection(worker, environment, receiver):
    """A connection that receives events and sends decisions to the local receiver."""
    Shop.get()
    starter.install()
    worker.environment["OUTBOUND_ALLOW"] = receiver.pair
    return Connection.objects.create(
        slug="shop", name="Shop", inbound_secret=signatures.generate_secret(), sends_outbound=True,
        outbound_url=receiver.url, outbound_secret=receiver.secret,
    )  # fmt: skip


def post_order(client, connection, reference, message_id):
    body = fixtures.order(f"order-{reference}", reference, "25.00")
    return fixtures.deliver(client, connection, body, message_id=message_id)


def delivered_about(receiver, reference):
    messages = [delivery["message"] for delivery in receiver.received()]
    return [message["data"] for message in messages if message["data"]["customer"]["reference"] == reference]


def test_a_signed_order_becomes_a_delivered_decision(client, worker, connection, receiver):
    worker.start()
    assert post_order(client, connection, "C1", "msg_1").status_code == 202
    wait_until(lambda: delivered_about(receiver, "C1"), seconds=PATIENCE, alive=worker.alive)
    decision = Decision.objects.get(customer__reference="C1")
    assert delivered_about(receiver, "C1")[0]["decision_id"] == decision.pk
    assert not DueCustomer.objects.exists()


def test_the_same_message_twice_counts_once(client, worker, connection, receiver):
    worker.start()
    post_order(client, connection, "C1", "msg_1")
    assert post_order(client, connection, "C1", "msg_1").json()["status"] == "duplicate"
    wait_until(lambda: delivered_about(receiver, "C1"), seconds=PATIENCE, alive=worker.alive)
    assert Event.objects.count() == 1
    assert Decision.objects.count() == 1


def test_messages_lost_while_no_worker_ran_are_caught_up_by_the_sweep(
    client, settings, worker, connection, receiver
):
    settings.JOB_SENDER = "tests.support.jobs.record"
    post_order(client, connection, "C1", "msg_1")
    worker.start()
    wait_until(lambda: delivered_about(receiver, "C1"), seconds=PATIENCE, alive=worker.alive)


def test_killing_the_worker_loses_nothing_and_doubles_nothing(client, worker, connection, receiver):
    worker.start()
    references = [f"C{number}" for number in range(30)]
    for number, reference in enumerate(references):
        post_order(client, connection, reference, f"msg_{number}")
        if number in {10, 20}:
            worker.kill()
            worker.start()
    wait_until(
        lambda: all(delivered_about(receiver, reference) for reference in references),
        seconds=2 * PATIENCE,
        alive=worker.alive,
    )
    wait_until(lambda: not OutboundMessage.objects.exclude(state="done").exists(), seconds=PATIENCE)
    assert InboundMessage.objects.filter(state="done").count() == len(references)
    assert Event.objects.count() == len(references)
    assert Decision.objects.count() == len(references)
    assert Customer.objects.count() == len(references)
    assert len({delivery["id"] for delivery in receiver.received()}) == len(references)


def test_killing_every_pool_child_leaves_a_worker_that_works(client, worker, connection, receiver):
    """The idle ones too: one of them is just waiting for work, and must not take the way to it along."""
    worker.start()
    for number in range(3):
        worker.kill_children()
        post_order(client, connection, f"C{number}", f"msg_{number}")
        wait_until(
            lambda reference=f"C{number}": delivered_about(receiver, reference),
            seconds=2 * PATIENCE,
            alive=worker.alive,
        )
        # Beat dies with the children: nobody would sweep up a delivery that was answered and is not yet written down.
        wait_until(lambda: not OutboundMessage.objects.exclude(state="done").exists(), seconds=PATIENCE)
