"""A database that goes away under the work is nobody's failure: what was begun is tried again within seconds."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from django.db import OperationalError, connection
from django.db.models import F
from django.utils import timezone

from segmentation import due, leases, outages, scoring
from segmentation.models import DueCustomer, ImportRun, LeaseState, Score
from tests.segmentation.scoring.test_scoring import ids
from tests.support.outages import lose_the_session, postgresql

pytestmark = pytest.mark.django_db(transaction=True)
SOON = timedelta(seconds=20)


@pytest.fixture
def losing(monkeypatch):
    """The session breaks under the first scoring."""
    real, lost = scoring.compute, []

    def compute(keys, pinned):
        if not lost:
            lost.append(keys)
            lose_the_session()
        return real(keys, pinned)

    monkeypatch.setattr(scoring, "compute", compute)


@postgresql
def test_customers_whose_scoring_lost_the_database_are_scored_soon(champion, losing):
    some = ids()[:3]
    due.mark_due(some, cause="test")
    scoring.rescore_due()
    waiting = DueCustomer.objects.all()
    assert {row.state for row in waiting} == {LeaseState.QUEUED}
    assert all(row.run_after < timezone.now() + SOON for row in waiting)
    DueCustomer.objects.update(run_after=F("run_after") - SOON)
    while scoring.rescore_due():
        pass
    assert set(Score.objects.values_list("customer", flat=True)) == set(some)


@postgresql
def test_a_customer_whose_scoring_loses_the_database_each_time_is_not_parked_soon(champion, monkeypatch):
    due.mark_due(ids()[:1], cause="test")

    def broken(keys, pinned):
        lose_the_session()
        DueCustomer.objects.count()

    monkeypatch.setattr(scoring, "compute", broken)
    for _time in range(leases.MAX_ATTEMPTS + 1):
        assert scoring.rescore_due() == 1
        row = DueCustomer.objects.get()
        assert (row.state, row.attempts) == (LeaseState.QUEUED, 1)
        DueCustomer.objects.update(run_after=F("run_after") - SOON)


@postgresql
def test_whoever_works_waits_for_a_server_that_refuses_them_to_give_back_what_they_have(
    champion, losing, monkeypatch
):
    some = ids()[:3]
    due.mark_due(some, cause="test")
    refused, real = [], connection.connect

    def connect():
        if len(refused) > 2:
            return real()
        refused.append(1)
        raise OperationalError("refused") from psycopg.OperationalError("refused")

    monkeypatch.setattr(outages, "LOOK_AGAIN", 0.01)
    monkeypatch.setattr(connection, "connect", connect)
    scoring.rescore_due()
    assert refused
    assert {row.state for row in DueCustomer.objects.all()} == {LeaseState.QUEUED}


def _work_that_lost_the_database(**given):
    """The run after work on it, which waits for an hour where it fails, lost the database. given: of its row before."""
    run = ImportRun.objects.create(**given)
    (row,) = leases.claim(ImportRun.objects.all())
    with leases.worked(row, after=timedelta(hours=1)):
        lose_the_session()
        ImportRun.objects.count()
    run.refresh_from_db()
    return run


@postgresql
def test_work_that_lost_the_database_is_tried_soon_and_the_attempt_does_not_count(db):
    run = _work_that_lost_the_database(attempts=leases.MAX_ATTEMPTS - 1)
    assert (run.state, run.attempts) == (LeaseState.QUEUED, leases.MAX_ATTEMPTS - 1)
    assert run.run_after < timezone.now() + SOON


@postgresql
def test_attempts_of_work_that_lost_the_database_too_often_count(db):
    run = _work_that_lost_the_database(fence=outages.CLAIMS - 1)
    assert (run.state, run.attempts) == (LeaseState.QUEUED, 1)
    assert run.run_after > timezone.now() + SOON


@postgresql
def test_a_statement_that_the_database_refuses_is_no_outage(db):
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 10")
        with pytest.raises(OperationalError) as told:
            cursor.execute("SELECT pg_sleep(5)")
    assert not outages.is_lost(told.value)
    connection.close()


def test_a_full_disk_is_an_outage_and_a_text_about_one_is_none(db):
    full = OperationalError("could not extend file")
    assert not outages.is_lost(full)
    full.__cause__ = psycopg.errors.DiskFull()
    assert outages.is_lost(full)
