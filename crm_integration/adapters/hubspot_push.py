"""Writing properties of HubSpot contacts in batches, and reading them back.

developers.hubspot.com, “Update contacts” (batch): up to 100 inputs by record id; a property that does not exist fails the
whole request with 400; an empty text clears a property. Answers may be 207 with `errors` beside `results`; an id that is
unknown is not always an error, it is missing among the results then. Limits: 429 with `policyName`
(“API usage guidelines”).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson
from django.utils.translation import gettext as _

from crm_integration import fetching
from crm_integration.adapters.pushing import (
    DONE,
    Names,
    Outcome,
    Outcomes,
    Values,
    Write,
    absent,
    in_parts,
    parts,
    printable,
    refused,
)
from crm_integration.http import Answer, DeliveryError

BATCH = 100
CONTACTS = "/crm/v3/objects/contacts"
WAITS = {
    "SECONDLY": timedelta(seconds=1),
    "TEN_SECONDLY_ROLLING": timedelta(seconds=10),
    "DAILY": timedelta(hours=1),
}
UNKNOWN_PROPERTY = "PROPERTY_DOESNT_EXIST"
NO_RECORD = "OBJECT_NOT_FOUND"


def asked_wait(answer: Answer) -> timedelta | None:
    if answer.retry_after is not None or answer.status != fetching.TOO_MANY:
        return answer.retry_after
    return WAITS.get(str(_content(answer).get("policyName")))


def push(api: fetching.Api, writes: Sequence[Write]) -> Outcomes:
    return in_parts(parts(writes, BATCH), lambda part: _send(api, part))


def read_back(api: fetching.Api, references: Sequence[str], *, names: Names) -> dict[str, Values]:
    held = {}
    for start in range(0, len(references), BATCH):
        asked = {
            "properties": names.all_fields,
            "inputs": [{"id": key} for key in references[start : start + BATCH]],
        }
        answer = api.post(f"{CONTACTS}/batch/read", asked)
        rows = fetching.rows(fetching.content(answer), "results") if answer is not None else []
        for row in rows:
            told = row.get("properties") or {}
            held[str(row.get("id"))] = Values({name: str(told.get(name) or "") for name in names.all_fields})
    return held


def probe(api: fetching.Api, *, names: Names) -> None:
    """Whether the properties exist: one that does not would fail every write."""
    missing = [name for name in names.all_fields if api.get(f"/crm/v3/properties/contacts/{name}") is None]
    if missing:
        raise _unknown(", ".join(missing))


def _send(api: fetching.Api, part: Sequence[Write]) -> Outcomes:
    """A batch; one that is refused as a whole is halved until those are found whom it is about."""
    inputs = [
        {"id": write.reference, "properties": dict(write.fields), "objectWriteTraceId": str(write.key)}
        for write in part
    ]
    answer = api.write(f"{CONTACTS}/batch/update", {"inputs": inputs})
    content = _content(answer)
    if answer.is_success:
        return _outcomes(part, content)
    problems = list(_problems(content))
    if any(UNKNOWN_PROPERTY in text for _ids, text in problems):
        raise _unknown(_text(content))
    if len(part) == 1:
        gone = any(NO_RECORD in text for _ids, text in problems) or answer.status == 404
        return {part[0].key: absent() if gone else refused(_text(content))}
    middle = len(part) // 2
    return in_parts([part[:middle], part[middle:]], lambda half: _send(api, half))


def _outcomes(part: Sequence[Write], content: Mapping[str, Any]) -> Outcomes:
    written = {str(row.get("id")) for row in fetching.rows(content, "results")}
    told: dict[str, Outcome] = {}
    for ids, text in _problems(content):
        told |= {key: absent() if NO_RECORD in text else refused(text) for key in ids}
    return {
        write.key: DONE
        if write.reference in written
        else told.get(write.reference, told.get(str(write.key), absent()))
        for write in part
    }


def _problems(content: Mapping[str, Any]) -> Iterator[tuple[list[str], str]]:
    """(ids of records or writes, category and words) of each error in an answer."""
    entries = [content, *(entry for entry in content.get("errors") or () if isinstance(entry, dict))]
    for entry in entries:
        context = entry.get("context") if isinstance(entry.get("context"), dict) else {}
        ids = [str(key) for name in ("ids", "id", "objectWriteTraceId") for key in _listed(context, name)]
        words = (entry.get("category"), entry.get("code"), entry.get("subCategory"), entry.get("message"))
        yield ids, " ".join(str(word) for word in words if word)


def _listed(context: Mapping[str, Any] | None, name: str) -> list[Any]:
    found = (context or {}).get(name)
    return found if isinstance(found, list) else [found] if found is not None else []


def _unknown(names: str) -> DeliveryError:
    return DeliveryError(
        _("HubSpot does not know a property: %(names)s. Create it for contacts, or leave it out here.")
        % {"names": printable(names)},
        permanent=True,
    )


def _text(content: Mapping[str, Any]) -> str:
    return printable(str(content.get("message") or content.get("category") or ""))


def _content(answer: Answer) -> dict[str, Any]:
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
