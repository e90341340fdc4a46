"""The webhook door: raw bytes in, verified, stored, 202. Knows what a request is as a WSGI server tells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError
from django.db import connection as database
from django.utils import timezone

from crm_integration import door, inbox, receiving, refusals
from crm_integration.adapters.base import Delivery
from crm_integration.receiving import Receiver
from crm_integration.signatures import BadSignature, Reason

log = structlog.get_logger(__name__)

RETRY_SECONDS = 5
STATUS = {Reason.TOO_LARGE: 413, Reason.UNREADABLE: 400}
UNPREFIXED = ("CONTENT_TYPE", "CONTENT_LENGTH")


@dataclass(frozen=True)
class Answer:
    status: int
    content: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The delivery is turned away for this reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass
class Arrived:
    """A request. environ: its names of PEP 3333, text in Latin-1. read: up to so many bytes of its body, once."""

    slug: str
    environ: Mapping[str, Any]
    read: Callable[[int], bytes]

    @cached_property
    def headers(self) -> dict[str, bytes]:
        """Lower-case names to the bytes that were sent."""
        named = {
            name[5:].replace("_", "-").lower(): value.encode("latin-1", "replace")
            for name, value in self.environ.items()
            if name.startswith("HTTP_")
        }
        for name in UNPREFIXED:
            if value := self.environ.get(name):
                named[name.replace("_", "-").lower()] = value.encode("latin-1", "replace")
        return named

    @property
    def body(self) -> bytes:
        """As it came. Raises Refused: a body over the cap, before it is read where its length is told."""
        body, refused = self._body
        if refused is not None:
            raise Refused(refused)
        return body

    @cached_property
    def _body(self) -> tuple[bytes, Reason | None]:
        """Read once, also when it is refused: a second look would see what comes after it."""
        try:
            return self._read(), None
        except Refused as refusal:
            return b"", refusal.reason

    def _read(self) -> bytes:
        most = settings.INBOUND_MAX_BYTES
        told = self._length()
        if told is not None and told > most:
            raise Refused(Reason.TOO_LARGE)
        try:
            body = self.read(most + 1 if told is None else told)
        except OSError as error:
            raise Refused(Reason.UNREADABLE) from error
        if len(body) > most:
            raise Refused(Reason.TOO_LARGE)
        if told is not None and len(body) < told:
            raise Refused(Reason.UNREADABLE)
        return body

    def _length(self) -> int | None:
        """None where the sender sends in chunks."""
        length = self.environ.get("CONTENT_LENGTH") or ""
        if not length:
            return None if "HTTP_TRANSFER_ENCODING" in self.environ else 0
        if not (length.isascii() and length.isdigit()):
            raise Refused(Reason.UNREADABLE)
        return int(length[:20])


def answer(arrived: Arrived) -> Answer:
    """202 once the message is committed; never a server error for what the sender did.

    While the database is away 503 with Retry-After, so that the sender keeps the message and comes back.
    """
    if arrived.environ["REQUEST_METHOD"] != "POST":
        return Answer(405, {"error": "method_not_allowed"}, {"Allow": "POST"})
    try:
        return _answer_over_a_live_link(arrived)
    except (OperationalError, InterfaceError) as error:
        log.error("inbound.database_away", error=type(error).__name__)
        return _unavailable()
    except IntegrityError:
        # The connection was deleted while its message was stored: who comes back is told that there is none.
        log.info("inbound.connection_gone")
        return _unavailable()


def _unavailable() -> Answer:
    return Answer(503, {"error": "unavailable"}, {"Retry-After": str(RETRY_SECONDS)})


def _answer_over_a_live_link(arrived: Arrived) -> Answer:
    """A link that broke while nobody used it is replaced, once; asking it before each message would cost a journey."""
    try:
        return _answer(arrived)
    except (OperationalError, InterfaceError):
        if database.in_atomic_block or database.connection is None or database.is_usable():
            raise
        database.close()
        return _answer(arrived)


def _answer(arrived: Arrived) -> Answer:
    now = timezone.now()
    known = receiving.kept(arrived.slug)
    if known is not None and (stored := _store(known, arrived, now)):
        return _accepted(stored, "accepted")
    receiver = receiving.look_up(arrived.slug)
    if receiver is None:
        return Answer(404, {"error": "unknown_connection"})
    try:
        return _accept(receiver, arrived, now)
    except (Refused, BadSignature) as refusal:
        refusals.count(receiver.connection, refusal.reason, arrived.headers)
        return Answer(STATUS.get(refusal.reason, 401), {"error": _public(refusal.reason)})


def _public(reason: Reason) -> str:
    """What the sender is told. Signature failures all sound the same; staff see the reason."""
    return reason.value if reason in STATUS else "signature_not_accepted"


def _store(known: Receiver, arrived: Arrived, now: datetime) -> int | None:
    """The id of the new message where all is well; None asks for a closer look, at the connection as it is now."""
    try:
        delivery = _delivery(known, arrived)
        if known.adapter.is_greeting(delivery):
            return None
        door.verify(known.connection, known.adapter, delivery, now=now)
    except (Refused, BadSignature):
        return None
    return inbox.store(known.connection, **door.message(known.adapter, delivery, now=now), stamp=known.stamp)


def _accept(receiver: Receiver, arrived: Arrived, now: datetime) -> Answer:
    """Raises Refused and BadSignature."""
    received = door.take(receiver.connection, _delivery(receiver, arrived), now=now)
    if received is None:
        return Answer(200, {"status": "hello"})
    return _accepted(received.message_id, "duplicate" if received.is_duplicate else "accepted")


def _delivery(receiver: Receiver, arrived: Arrived) -> Delivery:
    """Its address is the one that the sender was given: behind a proxy the request may name another host or scheme."""
    query = arrived.environ.get("QUERY_STRING", "")
    url = f"{receiver.url}?{query}" if query else receiver.url
    return Delivery(arrived.body, arrived.headers, url, receiver.connection.options)


def _accepted(message_id: int, status: str) -> Answer:
    return Answer(202, {"id": message_id, "status": status})
