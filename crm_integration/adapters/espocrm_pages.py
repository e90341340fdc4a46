"""EspoCRM's records by its API: one that a message tells in part, and what changed, page by page.

See github.com/espocrm/documentation, docs/development/api/crud and api-search-params.

A list takes at most 200 records (`recordListMaxSizeLimit`), times are UTC to the second, `between` counts both its ends,
and records that are equal in what they are ordered by follow their id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext as _

from crm_integration import fetching
from crm_integration.adapters import espocrm_records as records
from crm_integration.adapters.base import Cursor, ItemRejection, Page, Parsed, collect
from crm_integration.adapters.reading import Fields
from crm_integration.models import Connection

PAGE_SIZE = 200
KINDS = tuple(records.READERS)


def hydrated(parsed: Parsed, connection: Connection, api_of: Callable[[Connection], fetching.Api]) -> Parsed:
    """The message with its thin records, each asked for once; one that is gone says nothing."""
    if not parsed.thin:
        return parsed
    if not (connection.options.get("site") and connection.credentials.get("api_key")):
        return _as_told(parsed)
    api, told = api_of(connection), Parsed(parsed.topic)
    for thin in {(thin.kind, thin.key): thin for thin in parsed.thin}.values():
        answer = api.get(f"/{thin.kind}/{thin.key}")
        if answer is not None:
            row = Fields(fetching.rows([fetching.content(answer)])[0], f"[{thin.item}]")
            told = told.plus(collect(parsed.topic, [(thin.item, row)], records.READERS[thin.kind]))
    return parsed.plus(told)


def _as_told(parsed: Parsed) -> Parsed:
    """Without an API key: a sale that is told in part is a rejection, of a contact the part is kept."""
    reason = _(
        "The message holds only a part of a won opportunity. Enter EspoCRM's address and an API key on the "
        "connection's page, and the whole is fetched."
    )
    sales = [ItemRejection(thin.item, reason) for thin in parsed.thin if thin.kind == "Opportunity"]
    return replace(parsed, thin=(), rejections=(*parsed.rejections, *sales))


def pages(api: fetching.Api, *, since: datetime, until: datetime, cursor: Cursor | None) -> Iterator[Page]:
    """Contacts, then opportunities. `api` may read both."""
    at: Cursor | None = cursor or _start(KINDS[0], since)
    while at is not None:
        kind = at["kind"]
        rows = fetching.rows(fetching.content(api.get_list(f"/{kind}", **_query(at, until))), "list")
        entries = [(number, Fields(row, f"{kind}[{number}]")) for number, row in enumerate(rows)]
        at = _after(at, rows, since)
        yield Page(collect(kind, entries, records.READERS[kind]), at)


def _start(kind: str, since: datetime) -> Cursor:
    return {"kind": kind, "since": _plain(since), "offset": 0}


def _query(at: Cursor, until: datetime) -> dict[str, Any]:
    return {
        "orderBy": "modifiedAt",
        "order": "asc",
        "maxSize": PAGE_SIZE,
        "offset": at["offset"],
        "where[0][type]": "between",
        "where[0][attribute]": "modifiedAt",
        "where[0][value][]": [at["since"], _plain(until)],
    }


def _after(at: Cursor, rows: Sequence[Mapping[str, Any]], since: datetime) -> Cursor | None:
    """On from the last change seen, its second again: an offset alone would skip some when a record changes meanwhile.

    Only where a whole page is of one second does the offset grow.
    """
    if len(rows) < PAGE_SIZE:
        following = KINDS[KINDS.index(at["kind"]) + 1 :]
        return _start(following[0], since) if following else None
    last = Fields(rows[-1]).clipped("modifiedAt", most=19)
    if last > at["since"]:
        return {**at, "since": last, "offset": 0}
    return {**at, "offset": at["offset"] + PAGE_SIZE}


def _plain(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
