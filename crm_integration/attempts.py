"""One try to reach a receiver, or to write to a CRM: what is left to do without the database, and how it went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import structlog
from django.utils import timezone
from django.utils.translation import gettext as _

from crm_integration import connections, exchange, http, pushing
from crm_integration.adapters import registry
from crm_integration.connections import Door
from crm_integration.http import Answer, DeliveryError
from crm_integration.models import Connection, OutboundMessage
from segmentation import leases

log = structlog.get_logger(__name__)

MAX_WAIT = timedelta(hours=24)
GONE = 410
BUSY = frozenset({429, 503})
EXCERPT = 120
# Less than the patience with a receiver: messages behind a slow answer are given back, not held.
IN_TURN_SECONDS = 0.5


@dataclass(frozen=True)
class Attempt:
    """How one try went. `is_final`: do not try again and stop the connection.

    `is_refused`: do not try again, the connection is well. `is_dropped`: there is nobody to tell.
    """

    started_at: datetime
    duration: timedelta
    status: int | None = None
    error: str = ""
    is_final: bool = False
    is_refused: bool = False
    is_dropped: bool = False
    retry_after: timedelta | None = None
    pushed: pushing.Pushed | None = None

    @property
    def is_success(self) -> bool:
        return not self.error

    @property
    def reached_receiver(self) -> bool:
        return self.is_success or self.is_refused or self.is_dropped

    @property
    def wait(self) -> timedelta | None:
        """How long the receiver asks us to leave it alone: that holds for whatever else waits for it."""
        busy = self.status in BUSY or (self.status is None and self.retry_after is not None)
        return min(self.retry_after, MAX_WAIT) if busy and self.retry_after is not None else None


def prepared(messages: Sequence[OutboundMessage]) -> Callable[[], dict[int, Attempt]]:
    """What is left to do without the database, while the claims are kept; messages that it leaves out were not tried."""
    connection = messages[0].connection
    try:
        planned = pushing.plan(connection, messages) if pushing.is_written_to(connection) else None
    except (registry.UnknownAdapter, DeliveryError) as error:
        failed = Attempt(timezone.now(), timedelta(0), error=str(error), is_final=True)
        return lambda: {message.pk: failed for message in messages}

    def send() -> dict[int, Attempt]:
        with leases.kept(messages):
            return _attempt(messages, planned) if planned is not None else _in_turn(messages)

    return send


def _in_turn(messages: Sequence[OutboundMessage]) -> dict[int, Attempt]:
    """One after the other, until one does not arrive or time is up: those after it have no attempt."""
    attempts: dict[int, Attempt] = {}
    until = monotonic() + IN_TURN_SECONDS
    with http.kept_alive():
        for message in messages:
            attempt = attempts[message.pk] = _attempt([message], None)[message.pk]
            if not attempt.reached_receiver or monotonic() > until:
                break
    return attempts


def _attempt(messages: Sequence[OutboundMessage], planned: pushing.Plan | None) -> dict[int, Attempt]:
    """Send to a receiver one message, or to a CRM many; never raises, for one must not hold up the others."""
    now, started = timezone.now(), monotonic()
    keys = [message.pk for message in messages]

    def all_failed(error: str, **more: Any) -> dict[int, Attempt]:
        return dict.fromkeys(keys, Attempt(now, _since(started), error=error, **more))

    try:
        if planned is not None:
            pushed = planned.carry_out()
            return {key: _pushed(pushed[key], now, _since(started)) for key in keys}
        return {keys[0]: _sent(messages[0], now, started)}
    except registry.UnknownAdapter as error:
        return all_failed(str(error), is_final=True)
    except DeliveryError as error:
        return all_failed(str(error), is_final=error.permanent, retry_after=error.retry_after)
    except Exception as error:
        # Staff must see why it does not leave.
        log.exception("outbound.failed", message_id=keys[0])
        return all_failed(_("Unexpected error: %(error)s.") % {"error": type(error).__name__})


def _sent(message: OutboundMessage, now: datetime, started: float) -> Attempt:
    connection = message.connection
    secrets = connections.valid_secrets(connection, Door.OUTBOUND, now=now)
    if connection.outbound_via == Connection.Via.EXCHANGE:
        exchange.push(message, secrets=secrets, now=now)
        return Attempt(now, _since(started))
    if not secrets:
        raise DeliveryError(_("The connection has no delivery secret."), permanent=True)
    adapter = registry.get(connection.adapter)
    answer = adapter.deliver(message, secrets=secrets, now=int(now.timestamp()))
    return Attempt(
        now,
        _since(started),
        status=answer.status,
        error="" if answer.is_success else _complaint(answer),
        is_final=answer.status == GONE,
        retry_after=answer.retry_after,
    )


def _pushed(pushed: pushing.Pushed, now: datetime, duration: timedelta) -> Attempt:
    return Attempt(
        now,
        duration,
        error=pushed.error,
        is_refused=pushed.is_refused,
        is_dropped=pushed.is_dropped,
        retry_after=pushed.retry_after,
        pushed=pushed,
    )


def _since(started: float) -> timedelta:
    return timedelta(seconds=monotonic() - started)


def _complaint(answer: Answer) -> str:
    """The status and the start of what the receiver said, for staff."""
    if 300 <= answer.status < 400:
        return _("Answered %(status)d: redirects are not followed.") % {"status": answer.status}
    said = "".join(letter for letter in answer.body.decode("utf-8", "replace") if letter.isprintable())
    return _("Answered %(status)d: %(text)s") % {"status": answer.status, "text": said[:EXCERPT]}
