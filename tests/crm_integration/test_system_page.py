"""System health: what is green, amber and red, and what it tells to do."""

from __future__ import annotations

from collections import namedtuple
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from crm_integration.admin import system_page
from crm_integration.broker import BrokerState
from crm_integration.models import InboundMessage, QueueStatus
from segmentation.models import Customer, DueCustomer, WorkerProcess
from tests.crm_integration import fixtures

pytestmark = pytest.mark.django_db
PAGE = reverse("admin:segmentation_workerprocess_changelist")
NOW = reverse("admin:segmentation_workerprocess_now")
ALL_QUEUES = "default,inbound,insight,outbound,score,train"
HEALTH_PAGE = 23
Usage = namedtuple("Usage", ["total", "used", "free"])


@pytest.fixture(autouse=True)
def _embedded(settings):
    settings.CELERY_BROKER_URL = "embedded://"


@pytest.fixture(autouse=True)
def _room_on_the_disk(monkeypatch):
    monkeypatch.setattr(
        system_page.shutil, "disk_usage", lambda path: Usage(100 * 2**30, 50 * 2**30, 50 * 2**30)
    )


def process(name="host:1", *, kind="worker", queues=ALL_QUEUES, ago=0, **fields):
    at = timezone.now() - timedelta(seconds=ago)
    return WorkerProcess.objects.create(name=name, kind=kind, queues=queues, seen_at=at, **fields)


@pytest.fixture
def well():
    """A worker for every queue, a beat and a sweep, all seen just now."""
    process(last_job="inbound.process", last_finished_at=timezone.now())
    process("beat@host:1", kind="beat", queues="")
    process("sweep", kind="sweep", queues="")


def light(name):
    return next(one for one in system_page.build().lights if str(one.name) == name)


def queue(name):
    return next(one for one in system_page.build().queues if str(one.name) == name)


def waiting_message(row, *, late):
    message = InboundMessage.objects.create(connection=row, dedupe_key="k", body=b"{}", body_sha256="")
    InboundMessage.objects.update(run_after=timezone.now() - timedelta(seconds=late))
    return message


def html(answer):
    return answer.content.decode()


def test_where_all_is_well_the_page_is_green(admin_client, well):
    assert system_page.build().tone == "good"
    text = html(admin_client.get(PAGE))
    for said in (
        "Everything works.",
        "host:1",
        "inbound.process",
        "Embedded: messages wait in this database",
    ):
        assert said in text, said
    assert "Everything works." in html(admin_client.get(NOW))


def test_an_installation_without_workers_is_told_to_start_one(admin_client):
    text = html(admin_client.get(PAGE))
    for said in ("Something does not work.", "make worker", "No beat was seen", "None was ever seen."):
        assert said in text, said


def test_a_worker_that_went_silent_is_gone_after_five_minutes(well):
    WorkerProcess.objects.filter(kind="worker").update(seen_at=timezone.now() - timedelta(seconds=90))
    (row, *_rest) = (one for one in system_page.build().processes if one.kind == "Worker")
    assert (row.tone, light("Workers").tone) == ("warn", "good")
    WorkerProcess.objects.filter(kind="worker").update(seen_at=timezone.now() - timedelta(minutes=6))
    assert light("Workers").tone == "bad"


def test_a_queue_that_nobody_takes_is_named(well):
    WorkerProcess.objects.filter(kind="worker").update(queues="inbound,score,insight,outbound,default")
    assert light("Workers").tone == "warn"
    assert "train" in light("Workers").says


def test_work_for_a_queue_that_nobody_takes_is_red(well, connection):
    waiting_message(connection, late=1)
    assert queue("Received messages").tone == "good"
    WorkerProcess.objects.filter(kind="worker").update(queues="score")
    assert queue("Received messages").tone == "bad"
    assert "start one" in str(queue("Received messages").says)


@pytest.mark.parametrize(("late", "tone"), [(5, "good"), (40, "warn"), (200, "bad")])
def test_a_backlog_is_judged_by_its_oldest_row(well, connection, late, tone):
    waiting_message(connection, late=late)
    row = queue("Received messages")
    assert (row.tone, row.due, row.oldest) == (tone, "1", system_page.span(late))


def test_what_waits_for_its_time_is_no_backlog(well, connection):
    waiting_message(connection, late=-3600)
    row = queue("Received messages")
    assert (row.tone, row.due, row.later, row.oldest) == ("good", "0", "1", "–")


def test_claims_that_ran_out_are_counted(well):
    person = Customer.objects.create(reference="c-1")
    DueCustomer.objects.create(
        customer=person, state="running", lease_until=timezone.now() - timedelta(minutes=1)
    )
    assert queue("Customers to rescore").expired == 1
    assert light("Claims").tone == "warn"


def test_numbers_stop_at_a_cap(well, connection, monkeypatch):
    monkeypatch.setattr(system_page, "COUNT_CAP", 2)
    for number in range(4):
        InboundMessage.objects.create(connection=connection, dedupe_key=str(number), body=b"", body_sha256="")
    assert queue("Received messages").due == "2+"


@pytest.mark.parametrize(("ago", "tone"), [(5, "good"), (90, "warn"), (400, "bad")])
def test_a_sweep_or_a_clock_that_stopped_is_seen(well, ago, tone):
    WorkerProcess.objects.exclude(kind="worker").update(seen_at=timezone.now() - timedelta(seconds=ago))
    assert (light("Sweep").tone, light("Clock (beat)").tone) == (tone, tone)


def test_a_broker_that_does_not_answer_is_red_and_its_login_is_not_shown(admin_client, well, settings):
    settings.CELERY_BROKER_URL = "amqp://user:password@127.0.0.1:1//"
    from workers import probe

    assert probe._named(settings.CELERY_BROKER_URL) == ("RabbitMQ", "127.0.0.1:1")
    settings.BROKER_PROBE = f"{__name__}.no_answer"
    text = html(admin_client.get(PAGE))
    assert "does not answer (ConnectionRefusedError)" in text
    assert "user:password" not in text


def no_answer():
    return BrokerState("RabbitMQ", "127.0.0.1:1", is_reachable=False, problem="ConnectionRefusedError")


def test_what_waits_in_the_embedded_broker_is_shown(well):
    from workers.models import QueuedMessage
    from workers.queues import full_name

    for _number in range(3):
        QueuedMessage.objects.create(queue=full_name("train"), payload="{}")
    assert queue("Training runs").in_broker == "3"


def test_a_queue_of_a_connection_that_nobody_reads_is_red(well):
    row = fixtures.connection(reads_queue=True)
    assert light("Queue consumer").tone == "bad"
    QueueStatus.objects.create(connection=row, seen_at=timezone.now())
    assert light("Queue consumer").tone == "good"


@pytest.mark.parametrize(("free", "tone"), [(50, "good"), (7, "warn"), (2, "bad")])
def test_a_disk_that_fills_up_is_told(well, monkeypatch, free, tone):
    usage = Usage(100 * 2**30, (100 - free) * 2**30, free * 2**30)
    monkeypatch.setattr(system_page.shutil, "disk_usage", lambda path: usage)
    assert light("Disk").tone == tone


def test_the_database_is_named():
    kind = "PostgreSQL" if database.vendor == "postgresql" else "SQLite"
    assert kind in light("Database").says


def test_who_may_not_see_it_does_not(client, django_user_model, well):
    user = django_user_model.objects.create_user("ada", is_staff=True)
    client.force_login(user)
    assert client.get(PAGE).status_code == client.get(NOW).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_workerprocess"))
    assert client.get(PAGE).status_code == 200
    assert client.get(NOW).status_code == 200
    assert PAGE in html(client.get(reverse("admin:index")))
    client.logout()
    assert client.get(NOW).status_code == 302


def test_the_page_costs_the_same_however_much_waits(admin_client, well, connection):
    def queries():
        with CaptureQueriesContext(database) as found:
            admin_client.get(PAGE)
        return len(found)

    queries()
    few = queries()
    for number in range(20):
        InboundMessage.objects.create(connection=connection, dedupe_key=str(number), body=b"", body_sha256="")
        process(f"host:{number + 2}")
    assert queries() == few <= HEALTH_PAGE
