"""Decisions published to real brokers: confirmed, under stable ids, kept until a queue is there for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from kombu import Connection as Broker
from kombu import Exchange, Queue

from crm_integration import broker as names
from crm_integration import outbox
from crm_integration.models import OutboundMessage
from segmentation import memberships, scoring, starter
from segmentation.models import Customer, Decision, LeaseState, Membership
from tests.crm_integration import fixtures
from tests.crm_integration.test_line import work
from tests.support.brokers import Proxy, reachable
from workers import publisher

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.services]

PYTHON = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs/queues.md").read_text(), re.DOTALL
)
PATIENCE = 1.0


@pytest.fixture(params=["rabbitmq", "redis"])
def broker(request, settings):
    found = reachable(request.param, settings)
    yield found
    found.forget(settings.CELERY_QUEUE_PREFIX)


@pytest.fixture
def connection(broker, transactional_db):
    return fixtures.connection("crm", sends_outbound=True, outbound_via="exchange")


@pytest.fixture
def receiver(broker, connection):
    """A queue bound to everything of the connection; returns a function that reads it as documented."""
    example: dict = {}
    exec(PYTHON[2], example)
    exchange, queue = names.exchange(), f"{django_settings.CELERY_QUEUE_PREFIX}receiver"
    binding = names.routing_key(connection, "*.*")
    bind(broker, binding)

    def read():
        found = []
        example["listen"](
            broker.url,
            exchange,
            queue,
            binding,
            lambda key, told: found.append((key, told)),
            patience=PATIENCE,
        )
        return found

    return read


def bind(broker, binding):
    exchange = Exchange(names.exchange(), type="topic", durable=True)
    queue = Queue(
        f"{django_settings.CELERY_QUEUE_PREFIX}receiver", exchange, routing_key=binding, durable=True
    )
    with Broker(broker.url) as link:
        queue(link.default_channel).declare()


def decide(client, connection, **order):
    fixtures.deliver(client, connection, fixtures.order(at=timezone.now(), **order))
    work()


def test_a_receiver_hears_decisions_and_segment_changes_under_ids_that_stay(
    client, broker, connection, receiver, shop
):
    starter.install()
    decide(client, connection, customer="C-1")
    heard = dict(receiver())
    decision = Decision.objects.get()
    assert heard[f"decision_{decision.pk}"]["data"]["customer"] == {"reference": "C-1"}
    entered = set(Membership.objects.values_list("segment__slug", flat=True))
    assert entered
    told = [message for message in heard.values() if message["type"] == "segment.entered"]
    assert {message["data"]["segment"]["slug"] for message in told} == entered
    assert all(message["data"]["customer"] == {"reference": "C-1"} for message in told)
    assert len(heard) == 1 + len(entered)
    for message in OutboundMessage.objects.all():
        assert message.state == LeaseState.DONE
        outbox.redeliver(message)
    outbox.deliver_due()
    assert dict(receiver()) == heard


def test_leaving_a_segment_is_told(client, broker, connection, receiver, shop):
    starter.install()
    decide(client, connection, customer="C-1")
    receiver()
    change = Membership.objects.select_related("segment").first()
    change.segment.is_active = False
    change.segment.save()
    memberships.refresh_segment(change.segment_id, on_decided=outbox.stage)
    outbox.deliver_due()
    left = [told for _key, told in receiver() if told["type"] == "segment.left"]
    assert [told["data"]["segment"]["slug"] for told in left] == [change.segment.slug]
    assert left[0]["data"]["version"] > 0


def test_a_message_about_a_customer_waits_until_a_queue_is_bound(client, broker, connection, shop):
    starter.install()
    decide(client, connection, customer="C-1")
    waiting = OutboundMessage.objects.get(topic="decision.made")
    assert waiting.state == LeaseState.QUEUED
    assert "No queue is bound" in waiting.error
    assert waiting.delivery_attempts.get().status_code is None
    bind(broker, "decision.made.crm")
    OutboundMessage.objects.update(run_after=timezone.now())
    outbox.deliver_due()
    waiting.refresh_from_db()
    assert waiting.state == LeaseState.DONE
    assert not OutboundMessage.objects.exclude(state=LeaseState.DONE).exists()  # segments: whoever listens


def test_another_connections_messages_are_not_heard(client, broker, connection, receiver, shop):
    starter.install()
    fixtures.connection("shop", sends_outbound=True, outbound_via="exchange")
    decide(client, connection, customer="C-1")
    heard = receiver()
    assert len(heard) == len({key for key, _told in heard}) == OutboundMessage.objects.count() / 2


def test_a_broker_that_is_away_keeps_the_message_waiting_and_is_used_again(
    client, broker, connection, receiver, shop, settings
):
    starter.install()
    proxy = Proxy(broker.url, 6379 if broker.is_redis else 5672)
    settings.CELERY_BROKER_URL = proxy.url
    proxy.refusing = True
    decide(client, connection, customer="C-1")
    assert not OutboundMessage.objects.filter(state=LeaseState.DONE).exists()
    assert "message broker did not take it" in OutboundMessage.objects.order_by("pk")[0].error
    proxy.refusing = False
    OutboundMessage.objects.update(run_after=timezone.now())
    outbox.deliver_due()
    assert not OutboundMessage.objects.exclude(state=LeaseState.DONE).exists()
    proxy.cut()  # a pooled connection that has died is found out, and the next attempt makes a new one
    for message in OutboundMessage.objects.all():
        outbox.redeliver(message)
    for _time in range(3):
        OutboundMessage.objects.filter(state=LeaseState.QUEUED).update(run_after=timezone.now())
        outbox.deliver_due()
    assert not OutboundMessage.objects.exclude(state=LeaseState.DONE).exists()
    assert {key for key, _told in receiver()} == set(
        OutboundMessage.objects.values_list("message_id", flat=True)
    )
    proxy.close()


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_without_confirms_what_the_broker_never_got_would_count_as_delivered(
    client, broker, connection, receiver, shop, settings, monkeypatch, breaks
):
    starter.install()
    proxy = Proxy(broker.url, 5672)
    settings.CELERY_BROKER_URL = proxy.url
    monkeypatch.setattr(publisher, "CONFIRM_SECONDS", 1)
    if breaks:
        monkeypatch.setattr(publisher, "_connection", lambda url: Broker(url, connect_timeout=5))
    proxy.swallows = b"decision.made"
    decide(client, connection, customer="C-1")
    delivered = set(
        OutboundMessage.objects.filter(state=LeaseState.DONE).values_list("message_id", flat=True)
    )
    settings.CELERY_BROKER_URL = broker.url
    lost = delivered - {key for key, _told in receiver()}
    assert bool(lost) is breaks
    proxy.close()


def test_with_a_delivery_secret_the_messages_are_signed(client, broker, connection, shop):
    from standardwebhooks import Webhook

    from crm_integration import connections
    from crm_integration.connections import Door

    starter.install()
    secret = connections.set_secret(connection, Door.OUTBOUND)
    bind(broker, "decision.*.crm")
    decide(client, connection, customer="C-1")
    [(headers, body)] = broker.read(f"{django_settings.CELERY_QUEUE_PREFIX}receiver")
    assert Webhook(secret).verify(body, headers)["type"] == "decision.made"


def test_a_batch_is_staged_once_for_each_change(connection, shop, broker):
    starter.install()
    people = [Customer.objects.create(reference=f"C-{number}") for number in range(3)]
    scoring.score_customers([person.pk for person in people], scoring.pin(), cause=1, on_decided=outbox.stage)
    changes = Membership.objects.count()
    staged = OutboundMessage.objects.filter(topic="segment.entered")
    assert staged.count() == changes
    from segmentation.news import News

    outbox.stage([News(person.pk) for person in people])
    assert staged.count() == changes
