"""The door out: news of customers is staged in the transaction that writes it, and delivered at least once."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any, Final, NamedTuple

import structlog
from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from crm_integration import aside, connections, payloads, pushing, segment_news, settling, turns
from crm_integration.attempts import MAX_WAIT, Attempt, prepared
from crm_integration.models import Connection, OutboundMessage
from segmentation import bulk, leases, lookups
from segmentation.batches import batches
from segmentation.jobs import Job, enqueue
from segmentation.models import AuditEntry, LeaseState
from segmentation.news import News

log = structlog.get_logger(__name__)

# The spacing that Standard Webhooks recommends: ten attempts over about three days.
RETRY_AFTER = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
)
MAX_ATTEMPTS = len(RETRY_AFTER) + 1
JITTER = 0.2
# Within the soft limit of the delivery task, with room for the last request.
WORK_SECONDS = 30.0
# One connection's queue before the next has its turn.
TURN_SECONDS = 5.0
# How long a worker waits for an answer before it serves others meanwhile.
PATIENCE = 0.25
# … and for one that took longer the last time, as long as this process remembers.
SHORT_PATIENCE = 0.01
COLUMNS = ("connection_id", "message_id", "topic", "body", "customer_id", "subject_version")
Row = tuple[int, str, str, bytes, int, int]
# Connections whose last answer kept this process waiting.
_slow: set[int] = set()
# Kept, so that their statements are worked out once (segmentation/lookups.py).
_MESSAGES: Final = OutboundMessage.objects.order_by()
_NEWEST: Final = (
    _MESSAGES.filter(topic__in=payloads.CUSTOMER_TOPICS)
    .values("connection_id", "customer_id")
    .annotate(newest=Max("pk"))
)


def stage(news: Sequence[News]) -> int:
    """A message to each sending connection that would see a difference; returns how many messages.

    A decision may differ from the last one in nothing but which rules came close: staff see that, receivers do not.
    Call it inside the transaction that writes the news and holds the customers' rows. Staging the same again does
    nothing. Without a sending connection nothing is read or written.
    """
    sending = dict(_sending().values_list("pk", "outbound_via"))
    if not sending or not news:
        return 0
    receivers = list(sending)
    listeners = [key for key, via in sending.items() if via == Connection.Via.EXCHANGE]
    count = sum(_stage(part, receivers) + segment_news.stage(part, listeners) for part in batches(news))
    if count:
        for key in receivers:
            enqueue(Job.DELIVER, connection_id=key)
    return count


def _stage(news: Sequence[News], receivers: list[int]) -> int:
    told = _told([one.customer_id for one in news], receivers)
    versions: dict[int, int] = {}
    for (_receiver, customer), last in told.items():
        versions[customer] = max(last.version, versions.get(customer, 0))
    rows = [
        _row(message, receiver)
        for message in payloads.about(news, told=versions, now=timezone.now())
        for receiver in receivers
        if _is_news(message, told.get((receiver, message.customer_id)))
    ]
    _add(rows)
    return len(rows)


def _row(message: payloads.CustomerMessage, receiver: int) -> Row:
    return (receiver, message.message_id, message.topic, message.body, message.customer_id, message.version)


def _add(rows: Sequence[Row]) -> None:
    """Those that are not there yet."""
    others = bulk.defaults(OutboundMessage, COLUMNS)
    told = [(*row, *others.values()) for row in rows]
    bulk.insert(OutboundMessage, (*COLUMNS, *others), told, on_conflict="ignore")


class Told(NamedTuple):
    """The newest message to a connection about a customer. `visible` is None when it was given up."""

    version: int
    visible: payloads.Visible | None


def _is_news(message: payloads.CustomerMessage, last: Told | None) -> bool:
    return last is None or last.visible != payloads.visible(message.body)


def _told(customers: list[int], receivers: list[int]) -> dict[tuple[int, int], Told]:
    """What each connection was last told about each customer, by (connection, customer)."""
    newest = lookups.values_in(_NEWEST, customers, "connection_id", "customer_id", "newest")
    keys = [key for receiver, _customer, key in newest if receiver in receivers]
    columns = ("connection_id", "customer_id", "subject_version", "state", "body")
    given_up = {LeaseState.FAILED, LeaseState.CANCELLED}
    return {
        (receiver, customer): Told(version, None if state in given_up else payloads.visible(bytes(body)))
        for receiver, customer, version, state, body in lookups.values_in(_MESSAGES, keys, *columns, by="id")
        if customer is not None
    }


def stage_again(connection: Connection, customers: Sequence[int]) -> int:
    """A message to one connection about each of these customers as they stand now, whatever it was told before.

    In the transaction of whoever asks for it; customers without a decision are left out.
    """
    told = {
        customer: last.version
        for (_receiver, customer), last in _told(list(customers), [connection.pk]).items()
    }
    news = [News(customer) for customer in customers]
    rows = [_row(message, connection.pk) for message in payloads.about(news, told=told, now=timezone.now())]
    _add(rows)
    if rows:
        enqueue(Job.DELIVER, connection_id=connection.pk)
    return len(rows)


def stage_test(connection: Connection, *, actor: Any = None) -> OutboundMessage:
    """A test message to one connection, delivered like any other."""
    with transaction.atomic():
        message = OutboundMessage.objects.create(
            connection=connection,
            message_id=f"test_{uuid.uuid4().hex}",
            topic=payloads.TEST_TOPIC,
            body=payloads.test_body(timezone.now()),
        )
        AuditEntry.record("connection.test_sent", connection, actor=actor)
        connections.wake(connection)
        enqueue(Job.DELIVER, message_id=message.pk)
    return message


def _sending() -> QuerySet[Connection]:
    return Connection.objects.filter(is_active=True, sends_outbound=True)


def _deliverable() -> QuerySet[OutboundMessage]:
    """Messages to connections that send and do not rest now."""
    return OutboundMessage.objects.filter(connection__in=list(_awake().values_list("pk", flat=True)))


def _awake() -> QuerySet[Connection]:
    return _sending().filter(Q(rests_until=None) | Q(rests_until__lte=Now()))


def due_ids(limit: int = 500) -> list[int]:
    """Messages to deliver now (new, due again, or left by a dead worker), oldest first."""
    return list(
        leases.claimable(_deliverable()).order_by("run_after", "pk").values_list("pk", flat=True)[:limit]
    )


def due_connections() -> list[int]:
    """Connections with something to deliver now, whoever waited longest first: each has a queue of its own."""
    waiting = [(_due_since(key), key) for key in _awake().values_list("pk", flat=True)]
    return [key for _since, key in sorted((since, key) for since, key in waiting if since is not None)]


def _due_since(connection_id: int) -> datetime | None:
    """Since when the connection's oldest message is due; None when none is."""
    due = leases.claimable(OutboundMessage.objects.filter(connection=connection_id))
    return due.order_by("run_after").values_list("run_after", flat=True).first()


def deliver(message_id: int) -> None:
    """Try one message once; nothing when it is done, not due, or another worker has it, or its connection rests."""
    message = _deliverable().filter(pk=message_id).select_related("connection").first()
    if message is not None:
        claimed = turns.claim(message.connection, message=message_id, max_attempts=MAX_ATTEMPTS)
        if claimed:
            _deliver(claimed)
            # Whoever found the connection taken meanwhile has left the rest to us.
            enqueue(Job.DELIVER, connection_id=message.connection_id)


def deliver_due(connection_id: int | None = None, *, seconds: float = WORK_SECONDS) -> int:
    """Deliver whatever is due (to one connection) for about `seconds`; returns how many messages were tried.

    The connections take turns, so that a long queue does not hold up the others; one that fails rests, one whose
    answer takes long is left to the worker that waits for it. Nudges again when some are left.
    """
    until = monotonic() + seconds
    tried = 0
    resting: set[int] = set()
    while monotonic() < until:
        due = [connection_id] if connection_id is not None else due_connections()
        turns = [key for key in due if key not in resting]
        took = {key: _turn(key, until=min(until, monotonic() + TURN_SECONDS)) for key in turns}
        tried += sum(turn.tried for turn in took.values())
        resting |= {key for key, turn in took.items() if turn.is_over}
        if resting >= set(turns):
            return tried
    for key in [connection_id] if connection_id is not None else due_connections():
        if _due_since(key) is not None:
            enqueue(Job.DELIVER, connection_id=key)
    return tried


class Turn(NamedTuple):
    """`is_over`: nothing more is due to this connection, or it is better left alone for now."""

    tried: int
    is_over: bool


def _turn(connection_id: int, *, until: float) -> Turn:
    """Work through a connection's queue for a while: one batch at least, or a slow database would never let it begin."""
    tried = 0
    while True:
        connection = _awake().filter(pk=connection_id).first()
        if connection is None or not _may_try(connection):
            return Turn(tried, is_over=True)
        claimed = turns.claim(connection, max_attempts=MAX_ATTEMPTS)
        if not claimed:
            return Turn(tried, is_over=True)
        tried += len(claimed)
        if not _deliver(claimed):
            return Turn(tried, is_over=True)
        if monotonic() >= until:
            return Turn(tried, is_over=False)


def _may_try(connection: Connection) -> bool:
    """A probe of one that has rested is not spent on finding that another worker is there."""
    is_free = connection.rests_until is None or not turns.is_taken(connection)
    return is_free and connections.may_try(connection)


def _deliver(messages: Sequence[OutboundMessage]) -> bool:
    """Send messages of one connection, then write down how it went. False when it is better left alone for now.

    An answer that takes long is waited for aside, so that this worker can serve others; what comes of it is written
    down there.
    """
    overtaken = _overtaken(messages)
    for message in messages:
        if message.pk in overtaken:
            _drop(message)
    news = [message for message in messages if message.pk not in overtaken]
    if not news:
        return True
    send = prepared(news)
    if news[0].connection.outbound_via == Connection.Via.EXCHANGE:
        return _settle_all(news, send())
    key, began = news[0].connection_id, monotonic()
    wait = SHORT_PATIENCE if key in _slow else PATIENCE
    attempts = aside.Aside(send).result(wait=wait, otherwise=partial(_settle_aside, news, began))
    if attempts is None:
        _slow.add(key)
        return False
    _slow.discard(key)
    return _settle_all(news, attempts)


def _settle_aside(messages: Sequence[OutboundMessage], began: float, attempts: Mapping[int, Attempt]) -> None:
    """Nobody else looked at this connection's queue meanwhile, so somebody is asked to now."""
    if monotonic() - began < PATIENCE:
        _slow.discard(messages[0].connection_id)
    _settle_all(messages, attempts)
    enqueue(Job.DELIVER, connection_id=messages[0].connection_id)


def _settle_all(messages: Sequence[OutboundMessage], attempts: Mapping[int, Attempt]) -> bool:
    """What was not tried is given back."""
    tried = [message for message in messages if message.pk in attempts]
    leases.release([message for message in messages if message.pk not in attempts])
    arrived = [message for message in tried if _is_plain_success(attempts[message.pk])]
    settling.delivered(arrived, attempts)
    for message in tried:
        if message not in arrived:
            _settle_alone(message, attempts[message.pk])
    return _judge(messages[0].connection, [attempts[message.pk] for message in tried])


def _is_plain_success(attempt: Attempt) -> bool:
    """Nothing is to be remembered of it but that it arrived."""
    return attempt.is_success and attempt.pushed is None


def _settle_alone(message: OutboundMessage, attempt: Attempt) -> None:
    try:
        with transaction.atomic():
            leases.guard(message)
            _note(message, attempt)
            _settle(message, attempt)
    except leases.LeaseLost:
        log.info("outbound.lease_lost", message_id=message.pk)


def _judge(connection: Connection, attempts: Sequence[Attempt]) -> bool:
    """What an attempt says about the connection: well, to be left alone for a while, or to be stopped."""
    final = next((attempt for attempt in attempts if attempt.is_final), None)
    if final is not None:
        connections.stop_sending(connection, reason=final.error)
        return False
    failed = next((attempt for attempt in attempts if not attempt.reached_receiver), None)
    if failed is None:
        connections.record_success(connection)
        return True
    reached = any(attempt.reached_receiver for attempt in attempts)
    connections.record_failure(connection, now=failed.started_at, wait=failed.wait, is_partial=reached)
    return False


def _is_overtaken(message: OutboundMessage) -> bool:
    return bool(_overtaken([message]))


def _overtaken(messages: Sequence[OutboundMessage]) -> set[int]:
    """Those after which a newer message tells the connection about the customer: of several that wait, the newest goes."""
    about = {
        message.pk: message.customer_id
        for message in messages
        if message.customer_id is not None and message.topic in payloads.CUSTOMER_TOPICS
    }
    if not about:
        return set()
    told = OutboundMessage.objects.filter(
        connection=messages[0].connection_id,
        customer__in=set(about.values()),
        topic__in=payloads.CUSTOMER_TOPICS,
    )
    newest = dict(told.order_by().values_list("customer").annotate(newest=Max("pk")))
    return {key for key, customer in about.items() if newest.get(customer, key) > key}


def _drop(message: OutboundMessage) -> None:
    try:
        leases.cancel(message, error=_("A newer message about this customer takes its place."))
    except leases.LeaseLost:
        log.info("outbound.lease_lost", message_id=message.pk)


def _note(message: OutboundMessage, attempt: Attempt) -> None:
    newest = message.delivery_attempts.aggregate(newest=Max("number"))["newest"] or 0
    settling.noted(message, attempt, number=newest + 1).save()


def _settle(message: OutboundMessage, attempt: Attempt) -> None:
    """Delivered, to be tried again, or dead."""
    if attempt.pushed is not None:
        pushing.note(message, attempt.pushed, now=attempt.started_at)
    if attempt.is_success:
        leases.finish(message, delivered_at=Now())
    elif attempt.is_dropped:
        leases.cancel(message, error=attempt.error)
    elif attempt.is_final or attempt.is_refused:
        leases.fail(message, attempt.error)
    elif message.attempts >= MAX_ATTEMPTS:
        leases.fail(
            message,
            _("Given up after %(count)d attempts. %(error)s")
            % {"count": message.attempts, "error": attempt.error},
        )
    else:
        leases.retry(
            message, after=wait_before_next(message.attempts, attempt.retry_after), error=attempt.error
        )


def wait_before_next(attempts: int, retry_after: timedelta | None = None) -> timedelta:
    """The pause after the `attempts`-th failure, ±20 %; longer when the receiver asks for it, at most a day more."""
    planned = RETRY_AFTER[min(attempts, len(RETRY_AFTER)) - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return max(planned, min(retry_after, MAX_WAIT)) if retry_after else planned


class NotRedeliverable(Exception):
    """The message cannot be sent again; the text says why."""


def redeliver(message: OutboundMessage, *, actor: Any = None) -> None:
    """Send a delivered or dead message again, under the same id, with the whole schedule of attempts."""
    with transaction.atomic():
        if not _sending().filter(pk=message.connection_id).exists():
            raise NotRedeliverable(_("The connection does not send; switch it on first."))
        if _is_overtaken(message):
            raise NotRedeliverable(_("A newer message about this customer takes its place."))
        if not leases.start_over(message):
            raise NotRedeliverable(_("The message is still waiting or being delivered."))
        AuditEntry.record("outbound.redelivered", message, actor=actor)
        connections.wake(message.connection)
        enqueue(Job.DELIVER, message_id=message.pk)
