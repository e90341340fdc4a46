"""Due customers whose scoring goes wrong: nobody is lost, nobody holds up the others."""

from __future__ import annotations

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
