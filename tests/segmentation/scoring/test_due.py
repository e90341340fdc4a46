"""Due customers whose scoring goes wrong: nobody is lost, nobody holds up the others."""

from __future__ import annotations

import datetime as dt

import pytest

from segmentation import due, scoring
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
