"""Writing fields, tags and segments of Mautic contacts in batches, and reading them back.

Read in Mautic's CommonApiController, LeadApiController, ListApiController and CustomFieldsApiControllerTrait: at most
`api_batch_max_limit` items (200 unless changed); PATCH needs the contact to exist and answers {"statusCodes": {position:
status}, "errors": {position: {"code", "message"}}}; a tag that begins with “-” is taken away; an emptied field needs
`overwriteWithBlank`; a field of that name that does not exist is ignored without a word; a number whose whole part is
zero is dropped, so numbers are written as words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from crm_integration import fetching
from crm_integration.adapters.pushing import (
    DONE,
    How,
    Names,
    Outcome,
    Outcomes,
    Values,
    Write,
    absent,
    in_parts,
    parts,
    refused,
)
from crm_integration.http import Answer, DeliveryError

BATCH = 100
MOST_SEGMENTS = 1000


def push(api: fetching.Api, writes: Sequence[Write]) -> Outcomes:
    outcomes = in_parts(parts(writes, BATCH), lambda part: _send(api, part))
    moved = [write for write in writes if write.join or write.leave]
    moved = [write for write in moved if outcomes[write.key].how is How.DONE]
    return outcomes | (_move(api, moved) if moved else {})


def read_back(api: fetching.Api, references: Sequence[str], *, names: Names) -> dict[str, Values]:
    held = {}
    for reference in references:
        answer = api.get(f"/api/contacts/{reference}") if reference.isdecimal() else None
        content = fetching.content(answer) if answer is not None else {}
        contact = content.get("contact") if isinstance(content, dict) else None
        if isinstance(contact, dict):
            told = shown(contact)
            fields = {name: told.get(name, "") for name in names.all_fields}
            held[reference] = Values(fields, names.own(tags(contact)))
    return held


def probe(api: fetching.Api) -> None:
    fetching.rows(fetching.content(api.get_list("/api/contacts", limit=1, minimal=1)), "contacts")


def shown(contact: Mapping[str, Any]) -> dict[str, str]:
    """The contact's fields by alias, whichever group they stand in."""
    found: dict[str, str] = {}
    groups = contact.get("fields")
    for group in groups.values() if isinstance(groups, dict) else ():
        for alias, entry in group.items() if isinstance(group, dict) else ():
            value = entry.get("value") if isinstance(entry, dict) else entry
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                found[alias] = str(value)
    return found


def tags(contact: Mapping[str, Any]) -> frozenset[str]:
    told = contact.get("tags")
    entries = told if isinstance(told, list) else []
    names = (entry.get("tag") if isinstance(entry, dict) else entry for entry in entries)
    return frozenset(name for name in names if isinstance(name, str))


def _send(api: fetching.Api, part: Sequence[Write]) -> Outcomes:
    """Somebody whose segments alone change needs nothing here."""
    changed = [write for write in part if write.reference.isdecimal() and write.changes_record]
    outcomes: Outcomes = {write.key: DONE for write in part if not write.changes_record}
    if changed:
        answer = api.write("/api/contacts/batch/edit", [_item(write) for write in changed], method="PATCH")
        outcomes |= _outcomes(answer, changed)
    return {write.key: outcomes.get(write.key, absent()) for write in part}


def _item(write: Write) -> dict[str, Any]:
    item: dict[str, Any] = {"id": int(write.reference), **write.fields}
    if not all(write.fields.values()):
        item["overwriteWithBlank"] = True
    if write.add_tags or write.remove_tags:
        item["tags"] = [*write.add_tags, *(f"-{tag}" for tag in write.remove_tags)]
    return item


def _outcomes(answer: Answer, part: Sequence[Write]) -> Outcomes:
    content = fetching.content(answer)
    told = content if isinstance(content, dict) else {}
    if not answer.is_success:
        message = _message(told)
        return {write.key: refused(message) for write in part}
    codes, errors = _by_position(told.get("statusCodes")), _by_position(told.get("errors"))
    return {write.key: _outcome(codes.get(n), errors.get(n)) for n, write in enumerate(part)}


def _outcome(code: Any, error: Any) -> Outcome:
    if code == 404:
        return absent()
    if error or (isinstance(code, int) and code >= 400):
        return refused(str(error.get("message", code)) if isinstance(error, dict) else str(code))
    return DONE


def _by_position(found: Any) -> dict[int, Any]:
    """PHP writes a list whose positions have gaps as an object."""
    if isinstance(found, dict):
        return {int(name): value for name, value in found.items() if str(name).isdecimal()}
    return dict(enumerate(found)) if isinstance(found, list) else {}


def _message(told: Mapping[str, Any]) -> str:
    errors = told.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else {}
    return str(first.get("message", "")) if isinstance(first, dict) else orjson.dumps(told).decode()


def _move(api: fetching.Api, writes: Sequence[Write]) -> Outcomes:
    """Into and out of the Mautic segments whose alias is the short name of one of ours; others are left alone."""
    outcomes: Outcomes = {}
    try:
        for alias, segment in _segments(api).items():
            joining = [write for write in writes if alias in write.join]
            if joining:
                outcomes |= _join(api, segment, joining)
            for write in writes:
                if alias in write.leave:
                    api.write(f"/api/segments/{segment}/contact/{write.reference}/remove", {})
    except DeliveryError as error:
        # The fields stand; the whole write is repeated, which changes nothing that stands.
        later = Outcome(How.LATER, str(error), error.retry_after)
        return {write.key: later for write in writes}
    return outcomes


def _join(api: fetching.Api, segment: int, writes: Sequence[Write]) -> Outcomes:
    answer = api.write(
        f"/api/segments/{segment}/contacts/add", {"ids": [int(write.reference) for write in writes]}
    )
    content = fetching.content(answer)
    details = content.get("details") if isinstance(content, dict) else None
    told = details if isinstance(details, dict) else {}
    return {
        write.key: refused(f"segment {segment}")
        for write in writes
        if not (told.get(write.reference) or {}).get("success")
    }


def _segments(api: fetching.Api) -> dict[str, int]:
    """Alias → id of Mautic's segments."""
    answer = api.get("/api/segments", limit=MOST_SEGMENTS, minimal=1)
    rows = fetching.rows(fetching.content(answer), "lists") if answer is not None else []
    return {str(row.get("alias")): int(row["id"]) for row in rows if str(row.get("id", "")).isdecimal()}
