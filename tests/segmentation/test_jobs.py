"""A nudge follows the commit, and a dead broker never fails the work."""

from __future__ import annotations

import pytest
from django.db import transaction

from segmentation.jobs import Job, enqueue


@pytest.mark.django_db(transaction=True)
def test_a_nudge_is_sent_after_the_commit(nudges):
    with transaction.atomic():
        enqueue(Job.RUN_TRAINING, run_id=7)
        assert nudges == []
    assert nudges == [(Job.RUN_TRAINING, {"run_id": 7})]


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_transaction_sends_nothing(nudges):
    with transaction.atomic():
        enqueue(Job.RUN_TRAINING, run_id=7)
        transaction.set_rollback(True)
    assert nudges == []


def broken_sender(job, ids):
    raise ConnectionRefusedError


@pytest.mark.django_db(transaction=True)
def test_a_dead_broker_does_not_fail_the_request(settings):
    settings.JOB_SENDER = "tests.segmentation.test_jobs.broken_sender"
    with transaction.atomic():
        enqueue(Job.SWEEP)
