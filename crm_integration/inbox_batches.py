"""Messages of a connection that only tell who somebody is and what has happened are stored together, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import structlog
from django.db import transaction

from crm_integration import echoes, erased_people, facts, jobs, outcomes
from crm_integration.adapters import registry
from crm_integration.adapters.base import Adapter, Parsed
from crm_integration.models import InboundMessage
from segmentation import leases

log = structlog.get_logger(__name__)
GUEST = ""  # in place of an id


@dataclass(frozen=True)
class Plain:
    """A message of profiles and events alone: nothing is to be fetched, started or asked for it."""

    message: InboundMessage
    adapter: Adapter
    parsed: Parsed


@dataclass(frozen=True)
class Part:
    """Neighbours of one connection. `plain` where they can be stored together."""

    messages: Sequence[InboundMessage]
    plain: Sequence[Plain] = ()


def parts(messages: Sequence[InboundMessage]) -> list[Part]:
    """By connection, in their order: neighbours that are plain belong together, any other is a part of its own."""
    found: list[Part] = []
    ordered = sorted(messages, key=lambda message: message.connection_id)
    for _connection, theirs in groupby(ordered, key=lambda message: message.connection_id):
        read = [(message, _plain(message)) for message in theirs]
        for together, run in groupby(read, key=lambda pair: pair[1] is not None):
            pairs = list(run)
            if together:
                found += [_part(plain) for plain in _in_place([plain for _, plain in pairs if plain])]
            else:
                found += [Part([message]) for message, _plain in pairs]
    return found


def _part(plain: Sequence[Plain]) -> Part:
    return Part([one.message for one in plain], plain if len(plain) > 1 else ())


def _in_place(run: Sequence[Plain]) -> list[list[Plain]]:
    """Divided where storing all profiles before all events would change what comes out.

    That is where a profile comes after the event of a guest, whom an e-mail finds, or after the event of that very
    customer without a profile before it.
    """
    found: list[list[Plain]] = []
    introduced: set[str] = set()
    named: set[str] = set()
    for one in run:
        profiles = {said.reference for said in one.parsed.customers}
        if not found or (profiles and (GUEST in named or profiles & (named - introduced))):
            found.append([])
            introduced, named = set(), set()
        introduced |= profiles
        named |= {event.customer or GUEST for event in one.parsed.events}
        found[-1].append(one)
    return found


def record(part: Part) -> bool:
    """Store what they say and end them; False where they have to be taken one at a time. Call it under their leases."""
    if not part.plain:
        return False
    try:
        _record(part.plain)
    except Exception as error:
        # Which of them it is shows when they are taken one at a time.
        log.info("inbound.batch_failed", messages=len(part.plain), error=type(error).__name__)
        return False
    return True


def _plain(message: InboundMessage) -> Plain | None:
    """None, too, for whatever goes wrong: taken alone, the message says what it was."""
    connection = message.connection
    if message.body is None or message.attempts > 1 or echoes.is_watched(connection):
        return None
    try:
        adapter = registry.get(connection.adapter)
        body = bytes(message.body)
        parsed = adapter.parse(body, message_key=message.dedupe_key, topic=message.topic)
        asked = jobs.asked(connection, parsed.topic, body, is_signed=adapter.signs_topic)
    except Exception:
        return None
    more = parsed.is_test or parsed.privacy or parsed.merged or parsed.thin or asked
    is_plain = parsed.is_known and (parsed.events or parsed.customers) and not more
    return Plain(message, adapter, parsed) if is_plain else None


def _record(plain: Sequence[Plain]) -> None:
    """Those whose claim was lost belong to another worker, and are left out."""
    with transaction.atomic():
        held = {message.pk for message in leases.guarded([one.message for one in plain])}
        ours = [one for one in plain if one.message.pk in held]
        if not ours:
            return
        told = [(one.parsed, one.message.received_at) for one in ours]
        recorded = facts.record_together(told, ours[0].adapter, ours[0].message.connection, cause="webhook")
        leases.finish_all(
            [one.message for one in ours],
            [outcomes.of_recorded(one.parsed, found) for one, found in zip(ours, recorded, strict=True)],
        )
        for one in ours:
            erased_people.forget_if_named(one.message)
