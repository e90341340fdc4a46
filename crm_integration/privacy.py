"""What messages hold of a person: shown in an export, forgotten in an erasure (settings.PRIVACY_HOLDERS)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar
from urllib.parse import unquote_plus

import orjson
from django.db import models, transaction
from django.utils.translation import gettext as _

from crm_integration import broker, facts, kept_headers
from crm_integration.adapters import registry
from crm_integration.adapters.base import Parsed, Unreadable
from crm_integration.models import (
    Connection,
    DeliveryAttempt,
    InboundMessage,
    OutboundMessage,
    PushedRecord,
    StoredReply,
)
from crm_integration.queue_door import Letter, understood
from segmentation.leases import OVER
from segmentation.privacy.marks import Marks, texts_of
from segmentation.privacy.subjects import Subject

MESSAGES_AT_ONCE = 500


class Messages:
    """Received messages are searched, for nothing links them to customers; sent ones name theirs."""

    name: ClassVar[str] = "messages"
    models: ClassVar[tuple[type[models.Model], ...]] = (OutboundMessage, DeliveryAttempt, PushedRecord)

    def held(self, subject: Subject) -> Mapping[str, int]:
        sent = OutboundMessage.objects.filter(customer__in=subject.customers)
        written = PushedRecord.objects.filter(customer__in=subject.customers)
        return {_("sent messages"): sent.count(), _("records at CRMs"): written.count()}

    def export(self, subject: Subject) -> Mapping[str, Any]:
        """Call it outside any transaction: the broker is asked too, and raises what it raises while it is away."""
        found = [
            {
                "from": message.connection.name,
                "when": message.received_at,
                "topic": message.topic,
                "body": body,
            }
            for message, body in _telling_of(subject, InboundMessage.objects.all())
        ]
        sent = OutboundMessage.objects.filter(customer__in=subject.customers).select_related("connection")
        return {
            "received": found,
            "set_aside": _letters_of(subject),
            "sent": [
                {
                    "to": message.connection.name,
                    "when": message.created_at,
                    "delivered_at": message.delivered_at,
                    "topic": message.topic,
                    "body": _readable(bytes(message.body)),
                }
                for message in sent.order_by("pk")
            ],
            "written": [
                {"to": record.connection.name, "when": record.written_at, "values": record.values}
                for record in PushedRecord.objects.filter(customer__in=subject.customers)
                .select_related("connection")
                .order_by("pk")
            ],
        }

    def erase(self, subject: Subject) -> Mapping[str, int]:
        """Empty the bodies of received messages that tell of the person, delete the messages sent about them.

        A message that still waits keeps its body: it may tell of others too. Whoever processes it meets the
        tombstone, leaves the person out and empties it (inbox).
        """
        over = InboundMessage.objects.filter(state__in=OVER)
        emptied = 0
        for message, _body in _telling_of(subject, over):
            emptied += forget(message, Marks(subject))
        written = PushedRecord.objects.filter(customer__in=subject.customers).delete()[0]
        return {
            "inboundmessage": emptied,
            "letter": _sift_letters(subject, lambda _connection, _letter: True),
            "outboundmessage": _delete_sent(subject),
            "pushedrecord": written,
            "storedreply": _forget_replies(Marks(subject)),
        }


MESSAGES = Messages()


def forget(message: InboundMessage, marks: Marks) -> int:
    """Empty a message that tells of somebody erased, and its id where that names them; the counts stay."""
    key = f"erased-{message.pk}" if marks.in_text(message.dedupe_key) else message.dedupe_key
    return InboundMessage.objects.filter(pk=message.pk).update(
        body=None,
        headers={},
        dedupe_key=key,
        topic=marks.scrubbed(message.topic),
        error=marks.scrubbed(message.error),
        detail=without_words(message.detail),
    )


def without_words(detail: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a message without its rejections' reasons, which may quote it, and without whom it was about."""
    return {name: value for name, value in detail.items() if name not in {"rejections", "customer_ids"}}


def texts_in(body: bytes) -> Iterator[str]:
    """Every text and number of a body, however it is written: JSON, or a form."""
    try:
        yield from texts_of(orjson.loads(body))
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace")
        yield text
        yield unquote_plus(text)


def _forget_replies(marks: Marks) -> int:
    """Answers whose Idempotency-Key names the person. The same request sent again is known as a message still."""
    kept = StoredReply.objects.values_list("pk", "key").iterator()
    named = [pk for pk, key in kept if marks.in_text(key)]
    return StoredReply.objects.filter(pk__in=named).delete()[0]


def _letters_of(subject: Subject) -> list[dict[str, Any]]:
    """What was set aside at the broker and names the person; it stays there. Headers that open doors are left out."""
    found = []

    def keep(connection: Connection, letter: Letter) -> bool:
        headers = {name: text for name, text in letter.headers.items() if kept_headers.is_kept(name)}
        found.append(
            {
                "from": connection.name,
                "message_id": letter.message_id,
                "headers": headers,
                "body": _readable(letter.body),
            }
        )
        return False

    _sift_letters(subject, keep)
    return found


def _sift_letters(subject: Subject, must_go: Callable[[Connection, Letter], bool]) -> int:
    """Of what was set aside at the broker and names the person, remove what must go; returns how many went.

    What still waits in a queue is no letter yet: once it is taken it is a message, or meets the tombstone.
    """
    if not broker.is_there():
        return 0
    search = _Search(subject, Marks(subject))

    def goes(connection: Connection, letter: Letter) -> bool:
        return search.finds_in_letter(connection, letter) and must_go(connection, letter)

    rows = Connection.objects.filter(queue_status__isnull=False).order_by("pk")
    return sum(broker.sift_parked(row, partial(goes, row)) for row in rows)


def _delete_sent(subject: Subject) -> int:
    count = 0
    rows = OutboundMessage.objects.filter(customer__in=subject.customers).order_by("pk")
    while keys := list(rows.values_list("pk", flat=True)[:MESSAGES_AT_ONCE]):
        with transaction.atomic():
            DeliveryAttempt.objects.filter(message__in=keys).delete()
            count += OutboundMessage.objects.filter(pk__in=keys).delete()[0]
    return count


def _telling_of(
    subject: Subject, rows: models.QuerySet[InboundMessage]
) -> Iterator[tuple[InboundMessage, Any]]:
    """Messages whose body, id or error names the person, with the body as people read it."""
    marks = Marks(subject)
    search = _Search(subject, marks)
    last = 0
    while found := list(rows.filter(pk__gt=last).order_by("pk")[:MESSAGES_AT_ONCE]):
        last = found[-1].pk
        for message in found:
            if search.finds(message):
                yield message, _readable(bytes(message.body)) if message.body is not None else None


class _Search:
    """Looks a body through in three ways, the quickest first."""

    def __init__(self, subject: Subject, marks: Marks) -> None:
        self._marks = marks
        self._ids = set(subject.ids)
        self._emails = {email.casefold() for email in subject.emails}
        words = {value for _namespace, value in subject.ids} | {*subject.emails, *subject.phones}
        self._words = [word.casefold() for word in (*words, *subject.names)]
        self._connections = {row.pk: row for row in Connection.objects.all()}

    def finds(self, message: InboundMessage) -> bool:
        if any(self._marks.in_text(text) for text in (message.dedupe_key, message.topic, message.error)):
            return True
        if message.body is None:
            return False
        connection = self._connections[message.connection_id]
        body = bytes(message.body)
        return self._finds_in_body(body, connection, topic=message.topic, key=message.dedupe_key)

    def finds_in_letter(self, connection: Connection, letter: Letter) -> bool:
        labels = (letter.message_id, *letter.headers.values())
        if any(self._marks.in_text(text) for text in labels):
            return True
        topic, content = understood(connection, letter)
        told = {"topic": topic, "key": letter.message_id}
        return any(self._finds_in_body(body, connection, **told) for body in {letter.body, content})

    def _finds_in_body(self, body: bytes, connection: Connection, *, topic: str, key: str) -> bool:
        if not self._may_name(body):
            return False
        if any(self._marks.in_text(text) for text in texts_in(body)):
            return True
        return self._says(body, connection, topic=topic, key=key)

    def _may_name(self, body: bytes) -> bool:
        """Whether a word stands there as it is, or may be hidden behind an escape."""
        if b"\\" in body or b"%" in body:
            return True
        text = body.decode("utf-8", "replace").casefold()
        return any(word in text for word in self._words)

    def _says(self, body: bytes, connection: Connection, *, topic: str, key: str) -> bool:
        """Whether it tells of the person as its adapter reads it: short ids are only numbers to everybody else."""
        try:
            adapter = registry.get(connection.adapter)
            parsed = adapter.parse(body, message_key=key, topic=topic)
        except (Unreadable, registry.UnknownAdapter):
            return False
        namespace = facts.namespace_of(connection, adapter)
        return any(
            (namespace, reference) in self._ids or email.strip().casefold() in self._emails
            for reference, email in people_in(parsed)
        )


def people_in(parsed: Parsed) -> set[tuple[str, str]]:
    """(id, e-mail) of everybody a message tells of."""
    return {(event.customer or "", event.email) for event in parsed.events} | {
        (customer.reference, customer.email) for customer in parsed.customers
    }


def _readable(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
