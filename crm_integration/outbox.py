"""The door out: news of customers is staged in the transaction that writes it, and delivered at least once."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple

import structlog
from django.db import transaction
from django.db.models import Max, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from crm_integration import connections, exchange, payloads, segment_news
from crm_integration.adapters import registry
from crm_integration.connections import Door
from crm_integration.http import Answer, DeliveryError
from crm_integration.models import Connection, DeliveryAttempt, OutboundMessage
from segmentation import leases
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
MAX_WAIT = timedelta(hours=24)
JITTER = 0.2
# Within the soft limit of the delivery task, with room for the last request.
WORK_SECONDS = 30.0
GONE = 410
EXCERPT = 120


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
        enqueue(Job.DELIVER)
    return count


def _stage(news: Sequence[News], receivers: list[int]) -> int:
    told = _told([one.customer_id for one in news], receivers)
    versions: dict[int, int] = {}
    for (_receiver, customer), last in told.items():
        versions[customer] = max(last.version, versions.get(customer, 0))
    rows = [
        OutboundMessage(
            connection_id=receiver,
            message_id=message.message_id,
            topic=message.topic,
            body=message.body,
            customer_id=message.customer_id,
            subject_version=message.version,
        )
        for message in payloads.about(news, told=versions, now=timezone.now())
        for receiver in receivers
        if _is_news(message, told.get((receiver, message.customer_id)))
    ]
    OutboundMessage.objects.bulk_create(rows, ignore_conflicts=True, batch_size=500)
    return len(rows)


class Told(NamedTuple):
    """The newest message to a connection about a customer. `visible` is None when it was given up."""

    version: int
    visible: payloads.Visible | None


def _is_news(message: payloads.CustomerMessage, last: Told | None) -> bool:
    return last is None or last.visible != payloads.visible(message.body)


def _told(customers: list[int], receivers: list[int]) -> dict[tuple[int, int], Told]:
    """What each connection was last told about each customer, by (connection, customer)."""
    about = OutboundMessage.objects.filter(
        customer__in=customers, connection__in=receivers, topic__in=payloads.CUSTOMER_TOPICS
    )
    newest = about.order_by().values("connection", "customer").annotate(newest=Max("pk")).values("newest")
    rows = OutboundMessage.objects.filter(pk__in=newest)
    given_up = {LeaseState.FAILED, LeaseState.CANCELLED}
    return {
        (receiver, customer): Told(version, None if state in given_up else payloads.visible(bytes(body)))
        for receiver, customer, version, state, body in rows.values_list(
            "connection_id", "customer_id", "subject_version", "state", "body"
        )
        if customer is not None
    }


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
        enqueue(Job.DELIVER, message_id=message.pk)
    return message


def _sending() -> QuerySet[Connection]:
    return Connection.objects.filter(is_active=True, sends_outbound=True)


def _deliverable() -> QuerySet[OutboundMessage]:
    return OutboundMessage.objects.filter(connection__in=list(_sending().values_list("pk", flat=True)))


def due_ids(limit: int = 500) -> list[int]:
    """Messages to deliver now (new, due again, or left by a dead worker), oldest first."""
    return list(
        leases.claimable(_deliverable()).order_by("run_after", "pk").values_list("pk", flat=True)[:limit]
    )


def deliver(message_id: int) -> None:
    """Try one message once; nothing when it is done, not due, or another worker has it."""
    for message in leases.claim(_deliverable().filter(pk=message_id), max_attempts=MAX_ATTEMPTS):
        _deliver(message)


def deliver_due(*, seconds: float = WORK_SECONDS) -> int:
    """Deliver whatever is due for about `seconds`; returns how many were tried, and nudges again when some are left.

    A connection that fails rests for the remainder of this call, so that a dead one does not slow the others.
    """
    until = monotonic() + seconds
    resting: set[int] = set()
    tried = 0
    while monotonic() < until:
        rows = _deliverable().exclude(connection__in=resting)
        claimed = leases.claim(rows, max_attempts=MAX_ATTEMPTS)
        if not claimed:
            return tried
        tried += 1
        if not _deliver(claimed[0]):
            resting.add(claimed[0].connection_id)
    enqueue(Job.DELIVER)
    return tried


@dataclass(frozen=True)
class Attempt:
    """How one try went. `is_final`: do not try again and stop the connection."""

    started_at: datetime
    duration: timedelta
    status: int | None = None
    error: str = ""
    is_final: bool = False
    retry_after: timedelta | None = None

    @property
    def is_success(self) -> bool:
        return not self.error


def _deliver(message: OutboundMessage) -> bool:
    """Send, then write down how it went, if the claim still stands. False when the connection did not take it."""
    if _is_overtaken(message):
        _drop(message)
        return True
    with leases.kept([message]):
        attempt = _attempt(message)
    try:
        with transaction.atomic():
            leases.guard(message)
            _note(message, attempt)
            _settle(message, attempt)
    except leases.LeaseLost:
        log.info("outbound.lease_lost", message_id=message.pk)
    return attempt.is_success


def _is_overtaken(message: OutboundMessage) -> bool:
    """Whether a newer message tells the connection about this customer: of several that wait, the newest goes."""
    if message.customer_id is None or message.topic not in payloads.CUSTOMER_TOPICS:
        return False
    newer = OutboundMessage.objects.filter(
        connection=message.connection_id,
        customer=message.customer_id,
        topic__in=payloads.CUSTOMER_TOPICS,
        pk__gt=message.pk,
    )
    return newer.exists()


def _drop(message: OutboundMessage) -> None:
    try:
        leases.cancel(message, error=_("A newer message about this customer takes its place."))
    except leases.LeaseLost:
        log.info("outbound.lease_lost", message_id=message.pk)


def _attempt(message: OutboundMessage) -> Attempt:
    connection = message.connection
    now, started = timezone.now(), monotonic()
    try:
        secrets = connections.valid_secrets(connection, Door.OUTBOUND, now=now)
        if connection.outbound_via == Connection.Via.EXCHANGE:
            exchange.push(message, secrets=secrets, now=now)
            return Attempt(now, _since(started))
        if not secrets:
            raise DeliveryError(_("The connection has no delivery secret."), permanent=True)
        adapter = registry.get(connection.adapter)
        answer = adapter.push(message, secrets=secrets, now=int(now.timestamp()))
    except registry.UnknownAdapter as error:
        return Attempt(now, _since(started), error=str(error), is_final=True)
    except DeliveryError as error:
        return Attempt(now, _since(started), error=str(error), is_final=error.permanent)
    except Exception as error:
        # One message must not hold up the others, and staff must see why it does not leave.
        log.exception("outbound.failed", message_id=message.pk)
        return Attempt(
            now, _since(started), error=_("Unexpected error: %(error)s.") % {"error": type(error).__name__}
        )
    return Attempt(
        now,
        _since(started),
        status=answer.status,
        error="" if answer.is_success else _complaint(answer),
        is_final=answer.status == GONE,
        retry_after=answer.retry_after,
    )


def _since(started: float) -> timedelta:
    return timedelta(seconds=monotonic() - started)


def _complaint(answer: Answer) -> str:
    """The status and the start of what the receiver said, for staff."""
    if 300 <= answer.status < 400:
        return _("Answered %(status)d: redirects are not followed.") % {"status": answer.status}
    said = "".join(letter for letter in answer.body.decode("utf-8", "replace") if letter.isprintable())
    return _("Answered %(status)d: %(text)s") % {"status": answer.status, "text": said[:EXCERPT]}


def _note(message: OutboundMessage, attempt: Attempt) -> None:
    newest = message.delivery_attempts.aggregate(newest=Max("number"))["newest"] or 0
    DeliveryAttempt.objects.create(
        message=message,
        number=newest + 1,
        at=attempt.started_at,
        status_code=attempt.status,
        duration_ms=int(attempt.duration.total_seconds() * 1000),
        error=attempt.error[:300],
    )


def _settle(message: OutboundMessage, attempt: Attempt) -> None:
    """Delivered, to be tried again, or dead; and what that says about the connection."""
    if attempt.is_success:
        leases.finish(message, delivered_at=Now())
        connections.record_success(message.connection)
        return
    if attempt.is_final:
        leases.fail(message, attempt.error)
        connections.stop_sending(message.connection, reason=attempt.error)
        return
    if message.attempts >= MAX_ATTEMPTS:
        leases.fail(
            message,
            _("Given up after %(count)d attempts. %(error)s")
            % {"count": message.attempts, "error": attempt.error},
        )
    else:
        leases.retry(
            message, after=wait_before_next(message.attempts, attempt.retry_after), error=attempt.error
        )
    connections.record_failure(message.connection, now=attempt.started_at)


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
        enqueue(Job.DELIVER, message_id=message.pk)
