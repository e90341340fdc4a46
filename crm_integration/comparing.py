"""How a comparison with a CRM is worked on: claimed, walked for a while, tried again later, given up in sight of staff.

What is compared is the business of reconciling.py (what its messages missed) and drift.py (what became of our writes).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import TypeVar

import structlog
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from crm_integration.adapters import registry
from crm_integration.adapters.base import Adapter
from crm_integration.http import DeliveryError
from crm_integration.models import Connection, DriftCheck, Reconciliation
from segmentation import alerts, leases
from segmentation.jobs import Job, enqueue
from segmentation.models import Alert

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 5
RETRY_AFTER = timedelta(minutes=5)
LONGEST_WAIT = timedelta(hours=6)
ALERTS: dict[type[Reconciliation | DriftCheck], str] = {
    Reconciliation: "comparison-failed",
    DriftCheck: "reading-failed",
}

Row = TypeVar("Row", Reconciliation, DriftCheck)


class CannotCompare(Exception):
    """This connection cannot be compared with its CRM; the message says why."""


def adapter_of(connection: Connection) -> Adapter:
    """Raises CannotCompare."""
    try:
        return registry.get(connection.adapter)
    except registry.UnknownAdapter as error:
        raise CannotCompare(str(error)) from error


def work(rows: QuerySet[Row], walk: Callable[[Row, float], None], *, seconds: float) -> None:
    """Let `walk` work on what can be claimed until the moment (of `monotonic`) that it is given.

    A walk ends with `finish` or `go_on_later`; CannotCompare and DeliveryError are told on the row.
    """
    for row in leases.claim(rows, max_attempts=MAX_ATTEMPTS):
        try:
            with leases.kept([row]):
                walk(row, monotonic() + seconds)
        except leases.LeaseLost:
            log.info("comparison.lease_lost", kind=type(row).__name__, row=row.pk)
        except (CannotCompare, DeliveryError) as problem:
            _try_later(row, problem)


def finish(row: Reconciliation | DriftCheck) -> None:
    leases.finish(row)
    alerts.resolve(_alert(row))


def go_on_later(row: Reconciliation | DriftCheck, job: Job, **ids: int) -> None:
    """Time is up and records are left: give the row back, and nudge."""
    leases.retry(row, after=timedelta(0), error="")
    enqueue(job, **ids)


def _try_later(row: Reconciliation | DriftCheck, problem: CannotCompare | DeliveryError) -> None:
    permanent = isinstance(problem, CannotCompare) or problem.permanent
    asked = problem.retry_after if isinstance(problem, DeliveryError) else None
    row.refresh_from_db(fields=["attempts"])
    if not permanent and row.attempts < MAX_ATTEMPTS:
        wait = max(RETRY_AFTER * max(row.attempts, 1), min(asked or RETRY_AFTER, LONGEST_WAIT))
        leases.retry(row, after=wait, error=str(problem))
        return
    leases.fail(row, str(problem))
    alerts.raise_once(
        _alert(row),
        _("“%(connection)s” could not be compared with what we hold: %(reason)s")
        % {"connection": row.connection.name, "reason": str(problem)},
        severity=Alert.Severity.WARNING,
    )


def _alert(row: Reconciliation | DriftCheck) -> str:
    return f"{ALERTS[type(row)]}-{row.connection_id}"
