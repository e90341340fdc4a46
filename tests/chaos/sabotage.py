"""Loaded into worker processes by the harness alone (`celery -I tests.chaos.sabotage`); the product knows nothing of it.

CHAOS_SABOTAGE names what to do, separated by commas: slow the work down so that faults land in the middle of it,
or break one of the rules that keep the data true, so that the oracle must see it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

STEP_SECONDS = 0.4
POISON = "POISON"


def small_steps() -> None:
    """Classification in chunks of 25 customers with a pause before each."""
    from segmentation import scoring, scoring_runs

    real = scoring.score_customers

    def slowly(ids, pinned, **options):
        time.sleep(STEP_SECONDS)
        return real(ids, pinned, **options)

    scoring.score_customers = slowly
    scoring_runs.CHUNK = dict.fromkeys(scoring_runs.CHUNK, 25)


def poison() -> None:
    """One customer kills whoever scores them."""
    from segmentation import scoring
    from segmentation.models import Customer

    real = scoring.compute

    def deadly(ids, pinned):
        if Customer.objects.filter(pk__in=ids, reference=POISON).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return real(ids, pinned)

    scoring.compute = deadly


def early_acknowledgement() -> None:
    """A message is marked done before its work."""
    from crm_integration import inbox
    from crm_integration.models import InboundMessage

    real = inbox._process

    def acknowledged_first(message):
        row = InboundMessage.objects.filter(pk=message.pk)
        row.update(state="done", lease_until=None, outcome="recorded")
        time.sleep(STEP_SECONDS)
        row.update(state="running")
        real(message)

    inbox._process = acknowledged_first


def no_fence() -> None:
    """Whoever once held a row may always write it."""
    from segmentation import leases

    leases._held = lambda row: type(row)._default_manager.filter(pk=row.pk)


def blind_ingest() -> None:
    """Ingest does not look whether a fact is known: only the unique key stands between it and doubles."""
    from segmentation import event_store

    event_store._known = lambda source, facts: {}


KINDS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (small_steps, poison, early_acknowledgement, no_fence, blind_ingest)
}

for _name in filter(None, os.environ.get("CHAOS_SABOTAGE", "").split(",")):
    KINDS[_name]()
