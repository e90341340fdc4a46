"""Customers who are due, worked off as long as there are any."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic
from typing import Final

from django.db.models.functions import Now

from segmentation import leases, lookups, scoring
from segmentation.jobs import Job, enqueue
from segmentation.models import DueCustomer, LeaseState
from segmentation.news import OnDecided

# Who has been at it for longer than this is not waited for.
QUICK = timedelta(seconds=1)
# Kept, so that their statements are worked out once (segmentation/lookups.py).
_WAITING: Final = leases.claimable(DueCustomer.objects.order_by()).values_list("pk")
_ANY: Final = _WAITING[:1]
_WHOLE_BATCH: Final = _WAITING[: scoring.BATCH]
_QUICK_AT_IT: Final = DueCustomer.objects.filter(
    state=LeaseState.RUNNING, lease_until__gte=Now(), started_at__gt=Now() - QUICK
).values_list("pk")[:1]


def work_off_due(*, seconds: float, on_decided: OnDecided | None = None) -> None:
    """Rescore whatever is due for about `seconds`; nudges again when some may be left.

    One worker with all of them is quicker than two with a half each, so the others leave a short queue to whoever is at
    it: who has begun looks again when done.
    """
    until = monotonic() + seconds
    while monotonic() < until:
        if _is_worked_on() or not scoring.rescore_due(on_decided=on_decided):
            return
    if lookups.rows_of(_ANY):
        enqueue(Job.RESCORE_DUE)


def _is_worked_on() -> bool:
    if not lookups.rows_of(_QUICK_AT_IT):
        return False
    return len(lookups.rows_of(_WHOLE_BATCH)) < scoring.BATCH
