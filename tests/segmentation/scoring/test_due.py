"""Due customers whose scoring goes wrong: nobody is lost, nobody holds up the others."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db.models.functions import Now

from segmentation import due, leases, rescoring, scoring
from segmentation.jobs import Job
from segmentation.models import DueCustomer, LeaseState, Score
from tests.segmentation.scoring.test_scoring import ids


def test_champions_that_cannot_be_read_cost_no_customer_an_attempt(champion, monkeypatch):
    due.mark_due(ids()[:1], cause="test")

    def broken():
        raise OSError("the artifact cannot be read")

    monkeypatch.setattr(scoring, "pin", broken)
    with pytest.raises(OSError, match="artifact"):
        scoring.rescore_due()
    row = DueCustomer.objects.get()
    assert (row.state, row.attempts) == (LeaseState.QUEUED, 0)


def test_a_customer_lost_to_another_worker_does_not_hold_up_the_others(champion, monkeypatch):
    lost, good = ids()[:2]
    due.mark_due([lost, good], cause="test")
    real = scoring.compute

    def overtaken(keys, pinned):
        if lost in keys:
            DueCustomer.objects.filter(customer=lost).update(fence=99)
            raise ValueError("a number out of range")
        return real(keys, pinned)

    monkeypatch.setattr(scoring, "compute", overtaken)
    assert scoring.rescore_due() == 2
    assert Score.objects.filter(customer=good).exists()


def test_a_customer_that_kills_its_workers_is_parked_without_the_others_of_its_batch(champion, monkeypatch):
    poison, *good = ids()[:4]
    due.mark_due([poison, *good], cause="test")
    real = scoring.compute

    def deadly(keys, pinned):
        if poison in keys:
            raise KeyboardInterrupt
        return real(keys, pinned)

    monkeypatch.setattr(scoring, "compute", deadly)
    for _ in range(10):
        DueCustomer.objects.filter(state=LeaseState.RUNNING).update(
            lease_until=dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
        )
        try:
            if not scoring.rescore_due():
                break
        except KeyboardInterrupt:
            continue
    parked = DueCustomer.objects.get()
    assert (parked.customer_id, parked.state, parked.attempts) == (poison, LeaseState.FAILED, 3)
    assert set(Score.objects.values_list("customer", flat=True)) == set(good)


def test_a_short_queue_is_left_to_the_worker_who_is_at_it(champion, nudges):
    first, second = ids()[:2]
    due.mark_due([first], cause="test")
    leases.claim(DueCustomer.objects.all())
    due.mark_due([second], cause="test")
    rescoring.work_off_due(seconds=60)
    assert not Score.objects.filter(customer=second).exists()
    DueCustomer.objects.filter(customer=first).update(started_at=Now() - 2 * rescoring.QUICK)
    rescoring.work_off_due(seconds=60)
    assert Score.objects.filter(customer=second).exists(), "who takes long is not waited for"


def test_a_long_queue_is_shared(champion, monkeypatch):
    first, second = ids()[:2]
    due.mark_due([first], cause="test")
    leases.claim(DueCustomer.objects.all())
    due.mark_due([second], cause="test")
    monkeypatch.setattr(scoring, "BATCH", 1)
    rescoring.work_off_due(seconds=60)
    assert Score.objects.filter(customer=second).exists()


def test_when_time_is_up_the_rest_is_nudged_again(champion, nudges, django_capture_on_commit_callbacks):
    due.mark_due(ids()[:1], cause="test")
    with django_capture_on_commit_callbacks(execute=True):
        rescoring.work_off_due(seconds=0)
    assert nudges[-1] == (Job.RESCORE_DUE, {})


def test_when_time_is_up_and_nobody_is_left_nobody_is_nudged(
    champion, nudges, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        rescoring.work_off_due(seconds=0)
    assert nudges == []
