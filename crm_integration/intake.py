"""The REST door's way in: the format and the inbox of the generic webhook, with an answer for each item."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.utils.translation import gettext as _

from crm_integration import inbox
from crm_integration.adapters import registry
from crm_integration.adapters.base import Parsed
from crm_integration.adapters.standard_message import BATCH_TOPIC
from crm_integration.models import Connection
from crm_integration.tokens import WRITES_AS
from segmentation import bulk, ingest
from segmentation.models import Event
from segmentation.normal import NormalEvent, customer_problem


class Status(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


@dataclass(frozen=True)
class Item:
    """`number` counts from 0 within the request."""

    number: int
    status: Status
    reason: str = ""


@dataclass(frozen=True)
class Taken:
    """`message_id`: the inbox row that holds the request."""

    message_id: int
    items: tuple[Item, ...]


class NotTaking(Exception):
    """The connection takes no events of this format now; the text says why."""


class AllRefused(Exception):
    """Nothing in the request can be stored, so nothing was."""

    def __init__(self, items: tuple[Item, ...]) -> None:
        super().__init__(_("Nothing of this could be taken."))
        self.items = items


def dedupe_key(body: bytes, *, key: str = "") -> str:
    """What stays the same when a client sends again: the body itself, or the body under an Idempotency-Key."""
    return "api:" + hashlib.sha256(key.encode() + b"\n" + body).hexdigest()


def take(
    connection: Connection,
    body: bytes,
    content: Mapping[str, Any],
    *,
    key: str = "",
    received_at: datetime,
    topics: Collection[str] | None = None,
) -> Taken:
    """Judge every item, store the request as one message and nudge a worker; committed on return.

    content: `body` as read. topics: the only ones allowed; another refuses the whole request. An accepted item is one
    that passed every check that can be made without storing it; what a worker finds later stands on the message.
    Raises NotTaking, AllRefused, adapters.base.Unreadable.
    """
    if not (connection.is_active and connection.accepts_inbound and connection.adapter == WRITES_AS):
        raise NotTaking(_("The token's connection is switched off or takes no events of this format."))
    _require_topics(content, topics)
    name = dedupe_key(body, key=key)
    parsed = registry.get(connection.adapter).parse(body, message_key=name)
    items = _judge(parsed, connection, received_at=received_at)
    if all(item.status is Status.REFUSED for item in items):
        raise AllRefused(items)
    received = inbox.receive(connection, dedupe_key=name, body=body, received_at=received_at)
    if received.is_duplicate:
        items = tuple(_known_before(item) for item in items)
    return Taken(received.message_id, items)


def _require_topics(content: Mapping[str, Any], topics: Collection[str] | None) -> None:
    """The message is stored whole, so one foreign topic refuses all of it. Raises AllRefused."""
    if topics is None:
        return
    told = list(_topics(content))
    if all(topic in topics for topic in told):
        return
    reason = _("Only these topics are taken here: %(topics)s.") % {"topics": ", ".join(sorted(topics))}
    rest = _("Another item has a topic that is not taken here.")
    raise AllRefused(
        tuple(
            Item(number, Status.REFUSED, rest if topic in topics else reason)
            for number, topic in enumerate(told)
        )
    )


def _topics(content: Mapping[str, Any]) -> Iterator[Any]:
    """The topic of each item; None where there is none. What is no envelope at all is left to the adapter."""
    if content.get("type") != BATCH_TOPIC:
        yield _text(content.get("type"))
        return
    data = content.get("data")
    entries = data.get("events") if isinstance(data, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        yield _text(entry.get("type")) if isinstance(entry, dict) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _judge(parsed: Parsed, connection: Connection, *, received_at: datetime) -> tuple[Item, ...]:
    if not parsed.is_known:
        return (Item(0, Status.REFUSED, _("%(field)s is not a known topic.") % {"field": "type"}),)
    if parsed.is_test:
        return (Item(0, Status.ACCEPTED),)
    problems = _problems(parsed, received_at=received_at)
    repeated = _repeated(parsed, connection)
    told = (parsed.event_items, parsed.customer_items, parsed.merged_items, parsed.privacy_items)
    numbers = sorted(set(problems).union(*told))
    return tuple(_item(number, problems, repeated) for number in numbers)


def _item(number: int, problems: Mapping[int, str], repeated: Collection[int]) -> Item:
    if number in problems:
        return Item(number, Status.REFUSED, problems[number])
    return Item(number, Status.DUPLICATE if number in repeated else Status.ACCEPTED)


def _problems(parsed: Parsed, *, received_at: datetime) -> dict[int, str]:
    """The reason by item, as the worker will find it."""
    problems = {found.item: found.reason for found in parsed.rejections}
    for rejection in ingest.rejections(parsed.events, received_at=received_at) if parsed.events else ():
        problems.setdefault(parsed.event_items[rejection.index], rejection.reason)
    for number, customer in zip(parsed.customer_items, parsed.customers, strict=True):
        if problem := customer_problem(customer):
            problems.setdefault(number, problem)
    return problems


def _repeated(parsed: Parsed, connection: Connection) -> set[int]:
    """Items whose facts are all stored already, or told earlier in this request, and that say nothing else."""
    known = _stored(parsed.events, connection)
    told: Counter[tuple[str, int, int]] = Counter()
    news = set(parsed.customer_items)
    seen = set()
    for number, event in zip(parsed.event_items, parsed.events, strict=True):
        name = _name(event)
        seen.add(number)
        if name not in known and not told[name]:
            news.add(number)
        told[name] += 1
    return seen - news


def _stored(events: Collection[NormalEvent], connection: Connection) -> set[tuple[str, int, int]]:
    rows = Event.objects.filter(source__slug=connection.slug)
    keys = sorted({event.source_key for event in events})
    found = bulk.values_in(rows, keys, "source_key", "kind", "source_version", by="source_key")
    return {(key, kind, version) for key, kind, version in found}


def _name(event: NormalEvent) -> tuple[str, int, int]:
    return (event.source_key, int(event.kind), event.source_version)


def _known_before(item: Item) -> Item:
    return Item(item.number, Status.DUPLICATE) if item.status is Status.ACCEPTED else item
