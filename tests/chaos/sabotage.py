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

    def acknowledged_first(messages, **options):
        rows = InboundMessage.objects.filter(pk__in=[message.pk for message in messages])
        rows.update(state="done", lease_until=None, outcome="recorded")
        time.sleep(STEP_SECONDS)
        rows.update(state="running")
        return real(messages, **options)

    inbox._process = acknowledged_first


def no_fence() -> None:
    """Whoever once held a row may always write it."""
    from segmentation import leases

    leases._held = lambda row: type(row)._default_manager.filter(pk=row.pk)
    leases.guarded = list


def no_outbox() -> None:
    """What was decided is sent after the commit, and nothing remembers that it has to be."""
    from django.db import transaction
    from django.utils import timezone

    from crm_integration import connections, outbox, payloads
    from crm_integration.adapters import registry
    from crm_integration.models import OutboundMessage

    def send(news):
        now = timezone.now()
        for told in payloads.about(news, told={}, now=now):
            for receiver in outbox._sending():
                message = OutboundMessage(connection=receiver, message_id=told.message_id, body=told.body)
                secrets = connections.valid_secrets(receiver, connections.Door.OUTBOUND, now=now)
                registry.get(receiver.adapter).push(message, secrets=secrets, now=int(now.timestamp()))

    def after_the_commit():
        while _decided:
            time.sleep(STEP_SECONDS)
            send(_decided.pop())

    def stage(news):
        _decided.append(list(news))
        transaction.on_commit(after_the_commit)
        return len(news)

    _decided: list = []
    outbox.stage = stage


def blind_ingest() -> None:
    """Ingest does not look whether a fact is known: only the unique key stands between it and doubles."""
    from segmentation import event_store

    event_store._known = lambda source, facts: {}


KINDS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (small_steps, poison, early_acknowledgement, no_fence, no_outbox, blind_ingest)
}

for _name in filter(None, os.environ.get("CHAOS_SABOTAGE", "").split(",")):
    KINDS[_name]()
