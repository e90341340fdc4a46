"""A database that goes away under the work is nobody's failure: what was begun is tried again within seconds."""

from __future__ import annotations

from datetime import timedelta

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
def test_work_that_lost_the_database_is_tried_soon_and_more_often_than_work_that_fails(db):
    run = ImportRun.objects.create(attempts=leases.MAX_ATTEMPTS - 1)
    (row,) = leases.claim(ImportRun.objects.all())
    with leases.worked(row, after=timedelta(hours=1)):
        lose_the_session()
        ImportRun.objects.count()
    run.refresh_from_db()
    assert (run.state, run.attempts) == (LeaseState.QUEUED, leases.MAX_ATTEMPTS - 1)
    assert run.run_after < timezone.now() + SOON


@postgresql
def test_work_that_loses_the_database_time_after_time_is_parked(db):
    run = ImportRun.objects.create(fence=outages.CLAIMS - 1)
    (row,) = leases.claim(ImportRun.objects.all())
    with leases.worked(row, after=timedelta(hours=1)):
        lose_the_session()
        ImportRun.objects.count()
    run.refresh_from_db()
    assert run.state == LeaseState.FAILED


def test_an_error_that_the_database_only_tells_of_is_no_outage(db):
    assert not outages.is_lost(OperationalError("deadlock detected"))
    with pytest.raises(Exception) as told, connection.cursor() as cursor:
        cursor.execute("SELECT no_such_column")
    assert not outages.is_lost(told.value)
