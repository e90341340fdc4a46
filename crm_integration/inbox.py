"""The door in: every message becomes one row first, and is understood afterwards."""

from __future__ import annotations

import hashlib
import math
import random
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from crm_integration import echoes, erased_people, facts, inbox_batches, jobs, outcomes, refusals, storing
from crm_integration.adapters import registry
from crm_integration.adapters.base import Adapter, Parsed, Unreadable
from crm_integration.http import DeliveryError
from crm_integration.models import Connection, InboundMessage
from crm_integration.models.connections import SECRETS
from crm_integration.signatures import Reason
from segmentation import leases
from segmentation.jobs import Job, enqueue, enqueue_due
from segmentation.models import AuditEntry, LeaseState

log = structlog.get_logger(__name__)

RETRY_AFTER = tuple(timedelta(seconds=seconds) for seconds in (2, 15, 60, 600, 3600))
MAX_ATTEMPTS = len(RETRY_AFTER) + 1
JITTER = 0.2
# A row this late has probably lost its nudge; fresher ones still have one on its way.
LATE = timedelta(seconds=5)
TRACE_KEPT = 6
LONGEST_WAIT = timedelta(hours=24)
# So many messages are claimed at once, and those that only tell what has happened are stored together. Twice as many would
# be little cheaper each, and SQLite's one writer would be busy for twice as long.
BATCH = 50
# Well within the soft limit of the task, with room for the last message.
WORK_SECONDS = 30.0
# What is claimed is worked on for so long at least: to give it all back after a moment would cost more than the work.
CLAIM_SECONDS = 0.1

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
    headers: Mapping[str, str] | None = None,
    repeats_differ: bool = False,
) -> Received:
    """Store a verified message once under (connection, dedupe_key) and nudge a worker. Committed on return.

    `topic`: what a header said it is about; `headers`: those to keep with it. `repeats_differ`: the sender counts its
    attempts in the body, so another body under a known key is no surprise.
    """
    key = store(
        connection, dedupe_key=dedupe_key, body=body, received_at=received_at, topic=topic, headers=headers
    )
    if key is not None:
        return Received(key, is_duplicate=False)
    digest = hashlib.sha256(body).hexdigest()
    return _known(connection, dedupe_key=dedupe_key, digest=digest, may_differ=repeats_differ)


def store(
    connection: Connection,
    *,
    dedupe_key: str,
    body: bytes,
    received_at: datetime,
    topic: str = "",
    headers: Mapping[str, str] | None = None,
    stamp: str | None = None,
) -> int | None:
    """The id of a new message, for which a worker was nudged; None when its key is known.

    stamp: None, too, when the connection is no longer what it was under it (storing.stamped).
    """
    given = {
        "connection": connection.pk,
        "dedupe_key": dedupe_key,
        "topic": topic[: outcomes.MAX_TOPIC],
        "body": body,
        "body_sha256": hashlib.sha256(body).hexdigest(),
        "received_at": received_at,
        "headers": dict(headers or {}),
    }
    key = storing.store_once(given, stamp=stamp)
    if key is not None:
        enqueue_due(Job.PROCESS_INBOUND)
    return key


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
    if claimed := leases.claim(rows, max_attempts=MAX_ATTEMPTS):
        _process(claimed)


def process_due(*, seconds: float = WORK_SECONDS) -> int:
    """Work through whatever is due, oldest first, for about `seconds`; nudges again when some may be left.

    Messages that nobody tried before are taken together, any other alone: one that kills its worker costs those beside
    it one attempt. A connection whose records cannot be fetched rests for the remainder of this call. Returns how many
    were tried.
    """
    until = monotonic() + seconds
    resting: set[int] = set()
    tried = 0
    while monotonic() < until:
        claimed = _claim(InboundMessage.objects.exclude(connection__in=resting))
        if not claimed:
            return tried
        away, untried = _process(claimed, until=max(until, monotonic() + CLAIM_SECONDS))
        resting |= away
        tried += len(claimed) - untried
    if leases.claimable(InboundMessage.objects.all()).exists():
        enqueue(Job.PROCESS_INBOUND)
    return tried


def _claim(rows: QuerySet[InboundMessage]) -> list[InboundMessage]:
    """What to do next: the oldest message alone where it was tried before, else with others that nobody tried.

    Never both: a claim that waits for other work is not kept, and may run out. Nor always one kind first: it would hold
    up the other for as long as more of it comes in.
    """
    oldest = leases.claimable(rows).order_by("run_after", "pk").values_list("attempts", flat=True).first()
    if oldest is None:
        return []
    if oldest:
        return _claim_tried(rows) or _claim_fresh(rows)
    return _claim_fresh(rows) or _claim_tried(rows)


def _claim_fresh(rows: QuerySet[InboundMessage]) -> list[InboundMessage]:
    return leases.take(rows.filter(attempts=0), limit=BATCH)


def _claim_tried(rows: QuerySet[InboundMessage]) -> list[InboundMessage]:
    return leases.claim(rows.filter(attempts__gt=0), max_attempts=MAX_ATTEMPTS)


class Worked(NamedTuple):
    """away: connections whose records cannot be fetched now. untried: how many messages were given back."""

    away: set[int]
    untried: int


def _process(messages: Sequence[InboundMessage], *, until: float = math.inf) -> Worked:
    """What else an `away` connection said, and what is not begun when time is up, is given back."""
    away: set[int] = set()
    untried = 0
    _with_connections(messages)
    with leases.kept(messages):
        for part in inbox_batches.parts(messages):
            left: Sequence[InboundMessage] = ()
            if part.messages[0].connection_id in away or monotonic() > until:
                left = part.messages
            elif not inbox_batches.record(part):
                left = _one_by_one(part.messages, away)
            leases.release(left)
            untried += len(left)
    return Worked(away, untried)


def _with_connections(messages: Sequence[InboundMessage]) -> None:
    rows = Connection.objects.defer(*SECRETS).in_bulk({message.connection_id for message in messages})
    for message in messages:
        message.connection = rows[message.connection_id]


def _one_by_one(messages: Sequence[InboundMessage], away: set[int]) -> Sequence[InboundMessage]:
    """Those that were not tried, because records of their connection, which is `away` then, cannot be fetched."""
    for number, message in enumerate(messages):
        try:
            goes_on = _attempt(message)
        except leases.LeaseLost:
            log.info("inbound.lease_lost", message_id=message.pk)
            goes_on = True
        if not goes_on:
            away.add(message.connection_id)
            return messages[number + 1 :]
    return ()


def _attempt(message: InboundMessage) -> bool:
    connection = message.connection
    try:
        adapter = registry.get(connection.adapter)
        body = _body(message)
        parsed = adapter.parse(body, message_key=message.dedupe_key, topic=message.topic)
        if job := jobs.asked(connection, parsed.topic, body, is_signed=adapter.signs_topic):
            jobs.start(message, job)
            return True
        sifted = echoes.without_own_changes(parsed, connection)
        _record(message, adapter, adapter.hydrate(sifted.rest, connection), own=sifted.echoes)
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
        told = _("Unexpected error: %(error)s.") % {"error": type(error).__name__}
        if not leases.gave_back(message, error, told):
            _try_later(message, told, trace=_trace(error))
    return True


def _body(message: InboundMessage) -> bytes:
    if message.body is None:
        raise Unreadable(_("The body is no longer kept (see retention)."))
    return bytes(message.body)


def _try_later(
    message: InboundMessage,
    problem: str,
    *,
    permanent: bool = False,
    wait: timedelta | None = None,
    trace: list[str] | None = None,
) -> None:
    """After the usual wait, or after the longer one that the other side asked for."""
    detail = {"detail": {"trace": trace}} if trace else {}
    if permanent or message.attempts >= MAX_ATTEMPTS:
        leases.fail(message, problem, **detail)
        erased_people.forget_if_named(message)
        return
    usual = RETRY_AFTER[message.attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    leases.retry(message, after=max(usual, min(wait or usual, LONGEST_WAIT)), error=problem, **detail)


def _trace(error: Exception) -> list[str]:
    """Where it happened, innermost last: files, lines and functions, never a value."""
    frames = traceback.extract_tb(error.__traceback__)[-TRACE_KEPT:]
    return [f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno} {frame.name}" for frame in frames]


def _record(message: InboundMessage, adapter: Adapter, parsed: Parsed, *, own: int = 0) -> None:
    """Facts, due customers and the end of the message in one transaction, so that a killed worker repeats nothing.

    own: records that were not fetched, since only our own fields had changed.
    """
    with transaction.atomic():
        leases.guard(message)
        if (not parsed.is_known and not _is_marked(parsed, message)) or parsed.is_test:
            outcome = Outcome.TEST if parsed.is_test else Outcome.UNKNOWN_TOPIC
            leases.finish(message, topic=outcomes.topic_of(parsed), outcome=outcome, detail={})
        else:
            recorded = facts.record(
                parsed, adapter, message.connection, received_at=message.received_at, cause="webhook"
            )
            echoed = own + recorded.echoes
            echoes.count(message.connection, echoed, now=message.received_at)
            leases.finish(message, **outcomes.of_recorded(parsed, recorded, echoed=echoed))
        erased_people.forget_if_named(message)


def _is_marked(parsed: Parsed, message: InboundMessage) -> bool:
    """Whether a message under a topic that is not read bears the mark of our own writes."""
    return echoes.is_watched(message.connection) and any(shown.is_own for shown in parsed.shown)


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
