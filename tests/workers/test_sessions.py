"""A worker's connection to the database lasts from job to job, and one that is gone is replaced unnoticed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import states
from django.db import connection

from workers import sessions
from workers.celery import app

JOB = SimpleNamespace(request=SimpleNamespace(is_eager=False))


@pytest.fixture
def own_connection(transactional_db):
    """These tests let go of the connection; the next one opens its own."""
    yield
    connection.close()


def run(state: str = states.SUCCESS) -> object:
    """What is open after a job that asks for something."""
    sessions._before(sender=JOB)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    during = connection.connection
    sessions._after(sender=JOB, state=state)
    return during


def test_a_connection_is_kept_from_job_to_job(own_connection):
    assert run() is run()


def test_what_a_failed_job_leaves_is_not_used_again(own_connection):
    assert run(states.FAILURE) is not run()


@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite is a file of this machine: no server goes away"
)
def test_one_that_is_gone_is_replaced_before_the_next_job_asks(own_connection):
    before = run()
    before.close()
    after = run()
    assert after is not before


def test_celery_itself_closes_nothing():
    from celery.fixups.django import DjangoWorkerFixup

    assert DjangoWorkerFixup(app).db_reuse_max > 1_000_000
