"""Writing fields of EspoCRM contacts and reading them back (github.com/espocrm/documentation, docs/development/api).

PUT Contact/{id} takes the attributes that change, one record a request; a list is asked for by `where` items as PHP
writes them into an address, at most 200 records. A refusal says why in X-Status-Reason. An attribute that does not exist
is ignored without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from crm_integration import fetching
from crm_integration.adapters.pushing import (
    DONE,
    Names,
    Outcomes,
    Values,
    Write,
    absent,
    in_parts,
    parts,
    refused,
)

BATCH = 25


def push(api: fetching.Api, writes: Sequence[Write]) -> Outcomes:
    return in_parts(parts(writes, 1), lambda part: _send(api, part[0]))


def read_back(api: fetching.Api, references: Sequence[str], *, names: Names) -> dict[str, Values]:
    wanted: dict[str, Any] = {
        "select": ",".join(["id", *names.all_fields]),
        "maxSize": len(references),
        "where[0][type]": "in",
        "where[0][attribute]": "id",
        "where[0][value][]": list(references),
    }
    rows = fetching.rows(fetching.content(api.get_list("/Contact", **wanted)), "list")
    return {str(row.get("id")): _values(row, names) for row in rows}


def probe(api: fetching.Api) -> None:
    fetching.rows(fetching.content(api.get_list("/Contact", select="id", maxSize=1)), "list")


def shown(record: Mapping[str, Any]) -> dict[str, str]:
    """The attributes of a record that are text; an empty one may be null."""
    return {name: value or "" for name, value in record.items() if value is None or isinstance(value, str)}


def _values(row: Mapping[str, Any], names: Names) -> Values:
    told = shown(row)
    return Values({name: told.get(name, "") for name in names.all_fields})


def _send(api: fetching.Api, write: Write) -> Outcomes:
    path = f"/Contact/{quote(write.reference, safe='')}"
    answer = api.write(path, {name: value or None for name, value in write.fields.items()}, method="PUT")
    if answer.status in fetching.NOT_FOUND:
        return {write.key: absent()}
    if not answer.is_success:
        return {write.key: refused(answer.headers.get("x-status-reason") or str(answer.status))}
    return {write.key: DONE}
