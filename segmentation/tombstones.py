"""Who was erased stays away: keyed pseudonyms of their ids and e-mails, asked by everything that stores people.

A transaction that stores people asks first (`among`), and keeps new erasures waiting until it is over. So either it
sees the tombstone, or the erasure sees what it stored.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from django.db import connection, transaction

from segmentation import bulk, contacts, crypto, identities
from segmentation.models import PrivacyRequest, Tombstone

# (id in the namespace, e-mail); either may be empty.
Who = tuple[str, str]
_LOCK = zlib.crc32(b"tierwise.erasures")


def among(people: Iterable[Who], *, namespace: str) -> set[Who]:
    """Those of `people` who were erased. Call it in the transaction that stores them, before it stores anything.

    An id counts by itself; an e-mail counts for guests and for ids that are not known here: somebody else who shares
    the address and is known stays.
    """
    if not _any():
        return set()
    wanted = set(people)
    ids = _known({person[0]: _mark_of_id(namespace, person[0]) for person in wanted if person[0]})
    emails = _known({person[1]: _mark_of_email(person[1]) for person in wanted if person[1].strip()})
    by_email = {who for who in wanted if who[0] not in ids and who[1] in emails}
    known_here = identities.find_many(namespace, {who[0] for who in by_email if who[0]})
    return {who for who in wanted if who[0] in ids} | {who for who in by_email if who[0] not in known_here}


def names_somebody(values: Iterable[str], *, namespace: str) -> bool:
    """Whether one of these texts is the id (in the namespace) or the e-mail of somebody who was erased."""
    if not Tombstone.objects.exists():
        return False
    texts = {value for value in values if value.strip()}
    marks = {text: _mark_of_id(namespace, text) for text in texts}
    emails = {text: _mark_of_email(text) for text in texts if "@" in text}
    return bool(_known(marks) or _known(emails))


def write(ids: Iterable[Who], emails: Iterable[str], *, request: PrivacyRequest) -> None:
    """Mark (namespace, id) pairs and e-mails as erased; waits for whoever stores people at this moment.

    Needs a transaction of its own: it must hold nothing that those others wait for.
    """
    marks = {_mark_of_id(*one) for one in ids} | {_mark_of_email(email) for email in emails}
    with transaction.atomic():
        _lock("pg_advisory_xact_lock")
        rows = [(mark, request.pk) for mark in sorted(marks)]
        bulk.insert(Tombstone, ("mark", "request_id"), rows, on_conflict="ignore")


def lift(ids: Iterable[Who], emails: Iterable[str]) -> int:
    """Let these come in again: the person came back. Returns how many marks went."""
    marks = {_mark_of_id(*one) for one in ids} | {_mark_of_email(email) for email in emails}
    return Tombstone.objects.filter(mark__in=marks).delete()[0]


def _any() -> bool:
    _lock("pg_advisory_xact_lock_shared")
    return Tombstone.objects.exists()


def _lock(how: str) -> None:
    """On SQLite a transaction that writes is alone anyway."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {how}(%s)", [_LOCK])


def _known(marks: dict[str, str]) -> set[str]:
    found = bulk.values_in(Tombstone.objects.all(), sorted(set(marks.values())), "mark", by="mark")
    stored = {mark for (mark,) in found}
    return {text for text, mark in marks.items() if mark in stored}


def _mark_of_id(namespace: str, value: str) -> str:
    return crypto.pseudonym("erased", f"{namespace}:{value}")


def _mark_of_email(email: str) -> str:
    return crypto.pseudonym("erased-email", contacts.email_index(email))
