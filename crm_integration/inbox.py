"""The door in: every message becomes one row first, and is understood afterwards."""

from __future__ import annotations

import hashlib
import random
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from crm_integration import erased_people, facts, jobs, refusals
from crm_integration.adapters import registry
from crm_integration.adapters.base import Adapter, Parsed, Unreadable
from crm_integration.http import DeliveryError
from crm_integration.models import Connection, InboundMessage
from crm_integration.signatures import Reason
from segmentation import leases
from segmentation.jobs import Job, enqueue
from segmentation.models import AuditEntry, LeaseState
from segmentation.normal import IngestReport, Rejection

log = structlog.get_logger(__name__)

RETRY_AFTER = tuple(timedelta(seconds=seconds) for seconds in (2, 15, 60, 600, 3600))
MAX_ATTEMPTS = len(RETRY_AFTER) + 1
JITTER = 0.2
# A row this late has probably lost its nudge; fresher ones still have one on its way.
LATE = timedelta(seconds=10)
REJECTIONS_KEPT = 50
MAX_TOPIC = 100
LONGEST_WAIT = timedelta(hours=24)
# Well within the soft limit of the task, with room for the last message.
WORK_SECONDS = 30.0

Outcome = InboundMessage.Outcome


@dataclass(frozen=True)
class Received:
    """`is_reused`: the id was known with another body, which is not kept here."""

    message_id: int
    is_duplicate: bool
    is_reused: bool = False


def receive(
    connection: Connection,
    *,
    dedupe_key: str,
    body: bytes,
    received_at: datetime,
    topic: str = "",
    repeats_differ: bool = False,
) -> Received:
    """Store a verified message once under (connection, dedupe_key) and nudge a worker. Committed on return.

    `topic`: what a header said it is about. `repeats_differ`: the sender counts its attempts in the body, so another
    body under a known key is no surprise.
    """
    digest = hashlib.sha256(body).hexdigest()
    try:
        # One statement commits by itself; inside somebody's transaction a savepoint keeps a repetition from spoiling it.
        with transaction.atomic() if transaction.get_connection().in_atomic_block else nullcontext():
            message = InboundMessage.objects.create(
                connection=connection,
                dedupe_key=dedupe_key,
                body=body,
                body_sha256=digest,
                received_at=received_at,
                topic=topic[:MAX_TOPIC],
            )
            enqueue(Job.PROCESS_INBOUND, message_id=message.pk)
    except IntegrityError:
        return _known(connection, dedupe_key=dedupe_key, digest=digest, may_differ=repeats_differ)
    return Received(message.pk, is_duplicate=False)


def _known(connection: Connection, *, dedupe_key: str, digest: str, may_differ: bool) -> Received:
    """The message that holds this key already. Another body under the same id is dropped, but not in silence."""
    key, known = InboundMessage.objects.values_list("pk", "body_sha256").get(
        connection=connection, dedupe_key=dedupe_key
    )
    if known != digest and not may_differ:
        refusals.count(connection, Reason.REUSED_ID)
        log.warning("inbound.id_reused", message_id=key)
    return Received(key, is_duplicate=True, is_reused=known != digest)


def due_ids(limit: int = 500) -> list[int]:
    """Messages whose nudge was lost or whose worker died, oldest first."""
    waiting = Q(state=LeaseState.QUEUED, run_after__lt=Now() - LATE)
    abandoned = Q(state=LeaseState.RUNNING, lease_until__lt=Now())
    rows = InboundMessage.objects.filter(waiting | abandoned).order_by("run_after", "pk")
    return list(rows.values_list("pk", flat=True)[:limit])


def process(message_id: int) -> None:
    """Understand one message and store what it says; nothing when it is done or another worker has it."""
    rows = InboundMessage.objects.filter(pk=message_id)
    for message in leases.claim(rows, max_attempts=MAX_ATTEMPTS):
        _process(message)


def process_due(*, seconds: float = WORK_SECONDS) -> int:
    """Work through whatever is due, oldest first, for about `seconds`; nudges again when some may be left.

    Each message is claimed when its turn comes, so one that kills its worker costs the others no attempt. A
    connection whose records cannot be fetched rests for the remainder of this call. Returns how many were tried.
    """
    until = monotonic() + seconds
    resting: set[int] = set()
    tried = 0
    while monotonic() < until:
        rows = InboundMessage.objects.exclude(connection__in=resting)
        claimed = leases.claim(rows, max_attempts=MAX_ATTEMPTS)
        if not claimed:
            return tried
        tried += 1
        if not _process(claimed[0]):
            resting.add(claimed[0].connection_id)
    enqueue(Job.PROCESS_INBOUND)
    return tried


def _process(message: InboundMessage) -> bool:
    """False when the connection's records cannot be fetched now."""
    try:
        with leases.kept([message]):
            return _attempt(message)
    except leases.LeaseLost:
        log.info("inbound.lease_lost", message_id=message.pk)
        return True


def _attempt(message: InboundMessage) -> bool:
    connection = message.connection
    try:
        adapter = registry.get(connection.adapter)
        body = _body(message)
        parsed = adapter.parse(body, message_key=message.dedupe_key, topic=message.topic)
        if job := jobs.asked(connection, parsed.topic, body):
            jobs.start(message, job)
            return True
        _record(message, adapter, adapter.hydrate(parsed, connection))
    except (Unreadable, registry.UnknownAdapter) as problem:
        leases.fail(message, str(problem), outcome=Outcome.UNREADABLE)
        erased_people.forget_if_named(message)
    except DeliveryError as problem:
        _try_later(message, str(problem), permanent=problem.permanent, wait=problem.retry_after)
        return False
    except leases.LeaseLost:
        raise
    except Exception as error:
        # Whatever one message does must neither stop the worker nor be lost: it waits, then is parked in sight.
        log.exception("inbound.failed", message_id=message.pk)
        _try_later(message, _("Unexpected error: %(error)s.") % {"error": type(error).__name__})
    return True


def _body(message: InboundMessage) -> bytes:
    if message.body is None:
        raise Unreadable(_("The body is no longer kept (see retention)."))
    return bytes(message.body)


def _try_later(
    message: InboundMessage, problem: str, *, permanent: bool = False, wait: timedelta | None = None
) -> None:
    """After the usual wait, or after the longer one that the other side asked for."""
    if permanent or message.attempts >= MAX_ATTEMPTS:
        leases.fail(message, problem)
        erased_people.forget_if_named(message)
        return
    usual = RETRY_AFTER[message.attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    leases.retry(message, after=max(usual, min(wait or usual, LONGEST_WAIT)), error=problem)


def _record(message: InboundMessage, adapter: Adapter, parsed: Parsed) -> None:
    """Facts, due customers and the end of the message in one transaction, so that a killed worker repeats nothing."""
    topic = parsed.topic.replace("\x00", "")[:MAX_TOPIC]
    with transaction.atomic():
        leases.guard(message)
        if not parsed.is_known or parsed.is_test:
            outcome = Outcome.TEST if parsed.is_test else Outcome.UNKNOWN_TOPIC
            leases.finish(message, topic=topic, outcome=outcome, detail={})
        else:
            report, rejections = facts.record(
                parsed, adapter, message.connection, received_at=message.received_at, cause="webhook"
            )
            leases.finish(
                message,
                topic=topic,
                events_created=report.created,
                outcome=_outcome(parsed, report, rejections),
                detail=_detail(report, rejections),
            )
        erased_people.forget_if_named(message)


def _outcome(parsed: Parsed, report: IngestReport, rejections: list[Rejection]) -> str:
    has_news = bool(report.created or report.customer_ids or parsed.privacy)
    if rejections:
        return Outcome.PARTLY if has_news or report.repeated else Outcome.REJECTED
    if report.erased and not has_news and not report.repeated:
        return Outcome.ERASED
    return Outcome.RECORDED if has_news else Outcome.NOTHING_NEW


def _detail(report: IngestReport, rejections: list[Rejection]) -> dict[str, Any]:
    return {
        "created": report.created,
        "repeated": report.repeated,
        "anonymous": report.anonymous,
        "erased": report.erased,
        "customers": len(report.customer_ids),
        "rejected": len(rejections),
        "rejections": [
            {"item": found.index, "reason": found.reason} for found in rejections[:REJECTIONS_KEPT]
        ],
    }


class NotReplayable(Exception):
    """The message cannot be processed again; the text says why."""


def replay(message: InboundMessage, *, actor: Any = None) -> None:
    """Process a finished or failed message again, as after a fix. Facts that are known already are not repeated."""
    if message.body is None:
        raise NotReplayable(_("The body is no longer kept (see retention)."))
    with transaction.atomic():
        if not leases.start_over(message, outcome=""):
            raise NotReplayable(_("The message is still waiting or being processed."))
        AuditEntry.record("inbound.replayed", message, actor=actor)
        enqueue(Job.PROCESS_INBOUND, message_id=message.pk)
