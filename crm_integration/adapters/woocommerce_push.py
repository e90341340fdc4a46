"""Writing the meta data of WooCommerce customers in batches, and reading it back.

WC_REST_Controller: at most 100 items a batch (413 beyond); the answer lists each item in its order, with its id or
{"id", "error": {"code", "message", "data": {"status"}}}. A meta entry without an id replaces the one of its key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
    refused,
)

BATCH = 100
NO_RECORD = "invalid_id"


def push(api: fetching.Api, writes: Sequence[Write]) -> Outcomes:
    return in_parts(parts(writes, BATCH), lambda part: _send(api, part))


def read_back(api: fetching.Api, references: Sequence[str], *, names: Names) -> dict[str, Values]:
    held = {}
    for start in range(0, len(references), BATCH):
        asked = ",".join(references[start : start + BATCH])
        answer = api.get_list("/customers", include=asked, per_page=BATCH, role="all")
        for row in fetching.rows(fetching.content(answer)):
            told = shown(row)
            held[str(row.get("id"))] = Values({name: told.get(name, "") for name in names.all_fields})
    return held


def probe(api: fetching.Api) -> None:
    fetching.rows(fetching.content(api.get_list("/customers", per_page=1, role="all")))


def shown(row: Mapping[str, Any]) -> dict[str, str]:
    """The meta entries that are plain text."""
    entries = row.get("meta_data")
    return {
        str(entry.get("key")): str(entry["value"])
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("value"), str | int | float)
    }


def _send(api: fetching.Api, part: Sequence[Write]) -> Outcomes:
    update = [
        {
            "id": int(write.reference),
            "meta_data": [{"key": key, "value": value} for key, value in write.fields.items()],
        }
        for write in part
        if write.reference.isdecimal()
    ]
    answer = api.write("/customers/batch", {"update": update})
    content = fetching.content(answer)
    if not answer.is_success:
        message = str(content.get("message", answer.status)) if isinstance(content, dict) else ""
        return {write.key: refused(message) for write in part}
    told = {str(row.get("id")): row.get("error") for row in fetching.rows(content, "update")}
    return {write.key: _outcome(told, write.reference) for write in part}


def _outcome(told: Mapping[str, Any], reference: str) -> Outcome:
    if reference not in told:
        return absent()
    error = told[reference]
    if not error:
        return DONE
    code, message = str(error.get("code", "")), str(error.get("message", ""))
    return absent() if NO_RECORD in code else refused(message or code)
