"""Background processes say that they live; a real worker appears on the page of health."""

from __future__ import annotations

import pytest
from django.utils import timezone

from segmentation.jobs import Job
from segmentation.models import WorkerProcess
from workers import probe, pulse

Kind = WorkerProcess.Kind


@pytest.fixture
def named(monkeypatch):
    monkeypatch.setenv(pulse.NAME, "host:1")
    monkeypatch.setattr(pulse, "_last_written", 0.0)
    return "host:1"


@pytest.mark.django_db(transaction=True)
def test_a_process_says_that_it_lives_and_says_it_again():
    pulse.beat("host:1", Kind.WORKER, "default,score")
    first = WorkerProcess.objects.get()
    assert (first.kind, first.queues, first.last_job) == ("worker", "default,score", "")
    assert abs((timezone.now() - first.seen_at).total_seconds()) < 60
    pulse.beat("host:1", Kind.WORKER, "default")
    again = WorkerProcess.objects.get()
    assert (again.queues, again.started_at) == ("default", first.started_at)
    assert again.seen_at >= first.seen_at


def test_a_database_that_is_away_does_not_stop_a_process(monkeypatch):
    from django.db import OperationalError

    class Away:
        vendor = "postgresql"

        def cursor(self):
            raise OperationalError

        def close(self):
            self.closed = True

        class ops:
            quote_name = staticmethod(str)

    away = Away()
    monkeypatch.setattr(pulse, "_quick_connection", lambda: away)
    pulse.beat("host:1", Kind.WORKER)
    assert away.closed


@pytest.mark.django_db
def test_a_finished_job_is_written_now_and_then(named):
    WorkerProcess.objects.create(name=named, kind=Kind.WORKER)
    pulse.finished(Job.DELIVER)
    pulse.finished(Job.SWEEP)
    row = WorkerProcess.objects.get()
    assert row.last_job == Job.DELIVER.value
    assert row.last_finished_at is not None


@pytest.mark.django_db
def test_a_process_without_a_name_writes_nothing(monkeypatch, django_assert_num_queries):
    monkeypatch.delenv(pulse.NAME, raising=False)
    with django_assert_num_queries(0):
        pulse.finished(Job.DELIVER)


@pytest.mark.django_db
def test_the_sweep_says_when_it_went_through_and_forgets_old_processes():
    old = WorkerProcess.objects.create(name="old", kind=Kind.WORKER)
    WorkerProcess.objects.update(seen_at=timezone.now() - 2 * pulse.KEPT)
    pulse.swept()
    pulse.swept()
    row = WorkerProcess.objects.get()
    assert (row.name, row.kind, row.last_finished_at is not None) == ("sweep", "sweep", True)
    assert old.pk != row.pk


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("amqp://u:p@mq.example:5672//", ("RabbitMQ", "mq.example:5672")),
        ("pyamqp://u:p@mq.example//", ("RabbitMQ", "mq.example")),
        ("rediss://:p@cache.example:6380/0", ("Redis", "cache.example:6380")),
    ],
)
def test_a_broker_is_named_without_its_login(url, named):
    assert probe._named(url) == named
