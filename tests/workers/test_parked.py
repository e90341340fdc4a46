"""What was set aside at the broker goes with the person it names; the letters of others stay, with their reason."""

from __future__ import annotations

import json
import time

import pytest
from amqp.exceptions import ChannelError
from kombu import Connection as Broker

from crm_integration import broker as names
from crm_integration import queue_door
from crm_integration.privacy import MESSAGES
from segmentation import identities, privacy
from segmentation.models import Customer
from segmentation.privacy import subjects
from tests.crm_integration import fixtures
from tests.support.brokers import reachable
from workers import amqp_doors, parked
from workers.queue_doors import PARKED_DAYS, REASON_HEADER, SINCE_HEADER

pytestmark = [pytest.mark.django_db, pytest.mark.services]

EVA = {"type": "order.placed", "data": {"customer": "CRM-4711", "email": "eva@example.com"}}
OTHER = {"type": "order.placed", "data": {"customer": "CRM-4712"}}


@pytest.fixture(params=["rabbitmq", "redis"])
def broker(request, settings):
    found = reachable(request.param, settings)
    yield found
    found.forget(settings.CELERY_QUEUE_PREFIX)


@pytest.fixture
def connection(broker, db):
    row = fixtures.connection(reads_queue=True)
    queue_door.note(row.pk, waiting=0, parked=0, last_message_at=None)
    return row


@pytest.fixture
def dead(broker, connection):
    """The queue of what was set aside, as a consumer makes it; put(body) sets something aside."""
    queue = names.inbound_queue(connection)
    if not broker.is_redis:
        with Broker(broker.url) as link:
            amqp_doors.queues(queue)[1](link.default_channel).declare()
    return names.parked_queue(queue)


def put(broker, dead, body, **headers):
    labels = {REASON_HEADER: "no_message_id", SINCE_HEADER: int(time.time()), **headers}
    if broker.is_redis:
        envelope = {"body": body, "headers": labels, "properties": {}, "content-type": "application/json"}
        with Broker(broker.url) as link:
            link.default_channel.client.lpush(dead, json.dumps(envelope))
        return
    with Broker(broker.url, transport_options={"confirm_publish": True}) as link:
        link.Producer().publish(
            body, routing_key=dead, headers=labels, content_type="application/json", content_encoding="utf-8"
        )


def test_an_erasure_takes_the_persons_letters_and_leaves_those_of_others(broker, connection, dead):
    eva = Customer.objects.create(reference="CRM-4711")
    for body in (json.dumps(OTHER), json.dumps(EVA), "not json: CRM-4711", "nothing"):
        put(broker, dead, body)
    put(broker, dead, "{}", **{"webhook-id": "customer-CRM-4711-updated"})
    gone = MESSAGES.erase(subjects.of_customers([eva.pk]))
    assert gone["letter"] == 3
    left = broker.read(dead)
    assert sorted(body for _headers, body in left) == sorted([json.dumps(OTHER).encode(), b"nothing"])
    assert {headers[REASON_HEADER] for headers, _body in left} == {"no_message_id"}


def test_an_export_shows_the_persons_letters_and_takes_none_away(broker, connection, dead):
    eva = Customer.objects.create(reference="CRM-4711")
    for body in (json.dumps(OTHER), json.dumps(EVA), "not json: CRM-4711", "nothing"):
        put(broker, dead, body, **{"Authorization": "Bearer secret-token", "X-Shop": "candles"})
    put(broker, dead, "{}", **{"webhook-id": "customer-CRM-4711-updated"})
    told = MESSAGES.export(subjects.of_customers([eva.pk]))["set_aside"]
    bodies = [letter["body"] for letter in told]
    assert sorted(map(str, bodies)) == sorted([str(EVA), "not json: CRM-4711", "{}"])
    assert {letter["from"] for letter in told} == {"Shop"}
    eva_told = told[bodies.index(EVA)]["headers"]
    assert (eva_told["x-shop"], eva_told[REASON_HEADER]) == ("candles", "no_message_id")
    assert told[bodies.index({})]["headers"]["webhook-id"] == "customer-CRM-4711-updated"
    assert "secret-token" not in str(told)
    left = broker.read(dead)
    assert len(left) == 5
    assert {headers[REASON_HEADER] for headers, _body in left} == {"no_message_id"}


def test_an_export_for_somebody_who_is_not_known_finds_their_letters_too(broker, connection, dead):
    put(broker, dead, json.dumps(EVA))
    row = privacy.request(privacy.Kind.EXPORT, identities.SHOP, "CRM-4711", source="test")
    privacy.work(row.pk)
    row.refresh_from_db()
    document = json.loads(privacy.answer(row))
    assert (row.is_held, document["messages"]["set_aside"][0]["body"]) == (True, EVA)


def test_an_export_waits_while_the_broker_is_away(settings, db):
    settings.CELERY_BROKER_URL = "amqp://guest:guest@127.0.0.1:9//"
    connection = fixtures.connection(reads_queue=True)
    queue_door.note(connection.pk, waiting=0, parked=1, last_message_at=None)
    row = privacy.request(privacy.Kind.EXPORT, identities.SHOP, "CRM-4711", source="test")
    privacy.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.result) == ("queued", None)


def test_more_letters_than_are_read_at_once_are_all_looked_at(broker, dead):
    for number in range(230):
        put(broker, dead, f"letter {number}")
    odd = parked.sift(dead.removesuffix(".dead"), lambda letter: int(letter.body.split()[1]) % 2 == 1)
    assert odd == 115
    assert sorted(int(body.split()[1]) for _headers, body in broker.read(dead)) == list(range(0, 230, 2))


def test_a_queue_that_was_never_made_holds_nothing(broker):
    assert parked.sift("tierwise.in.nowhere", lambda _letter: True) == 0


def test_a_letter_that_stays_ends_on_its_old_day(broker, dead):
    if broker.is_redis:
        pytest.skip("a list ends as a whole, and sifting does not touch it")
    long_ago = int(time.time()) - PARKED_DAYS * 24 * 3600
    put(broker, dead, "ends soon", **{SINCE_HEADER: long_ago + 60})
    put(broker, dead, "is over", **{SINCE_HEADER: long_ago})
    parked.sift(dead.removesuffix(".dead"), lambda _letter: False)
    with Broker(broker.url) as link:
        message = link.default_channel.basic_get(queue=dead)
        assert message.body in ("ends soon", b"ends soon")
        assert 0 < int(message.properties["expiration"]) <= 60_000
        assert link.default_channel.basic_get(queue=dead) is None


def test_two_do_not_sift_one_queue_at_once(broker, dead):
    if broker.is_redis:
        pytest.skip("a list is read without taking anything from it")
    put(broker, dead, "a letter")

    def meanwhile(_letter):
        with pytest.raises(ChannelError):
            parked.sift(dead.removesuffix(".dead"), lambda _letter: True)
        return False

    assert parked.sift(dead.removesuffix(".dead"), meanwhile) == 0
    assert len(broker.read(dead)) == 1


def test_without_a_queue_door_the_broker_is_not_asked(settings, db):
    settings.CELERY_BROKER_URL = "amqp://nobody.invalid//"
    fixtures.connection()
    eva = Customer.objects.create(reference="CRM-4711")
    assert MESSAGES.export(subjects.of_customers([eva.pk]))["set_aside"] == []
    assert MESSAGES.erase(subjects.of_customers([eva.pk]))["letter"] == 0
