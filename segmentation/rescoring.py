"""Customers who are due, worked off as long as there are any."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic

from django.db.models.functions import Now

from segmentation import leases, scoring
from segmentation.jobs import Job, enqueue
from segmentation.models import DueCustomer, LeaseState
from segmentation.news import OnDecided

# Who has been at it for longer than this is not waited for.
QUICK = timedelta(seconds=1)


def work_off_due(*, seconds: float, on_decided: OnDecided | None = None) -> None:
    """Rescore whatever is due for about `seconds`; nudges again when some may be left.

    One worker with all of them is quicker than two with a half each, so the others leave a short queue to whoever is at
    it: who has begun looks again when done.
    """
    until = monotonic() + seconds
    while monotonic() < until:
        if _is_worked_on() or not scoring.rescore_due(on_decided=on_decided):
            return
    if leases.claimable(DueCustomer.objects.all()).exists():
        enqueue(Job.RESCORE_DUE)


def _is_worked_on() -> bool:
    held = DueCustomer.objects.filter(state=LeaseState.RUNNING, lease_until__gte=Now())
    if not held.filter(started_at__gt=Now() - QUICK).exists():
        return False
    return leases.claimable(DueCustomer.objects.all())[: scoring.BATCH].count() < scoring.BATCH
