"""HubSpot, signature version 3: method, address, body and time are signed; messages only name what changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _

from crm_integration import fetching, signatures
from crm_integration.adapters import hubspot_push
from crm_integration.adapters import hubspot_records as records
from crm_integration.adapters.base import (
    Adapter,
    Cursor,
    Delivery,
    Found,
    Merged,
    Page,
    Parsed,
    PrivacyKind,
    PrivacyRequest,
    Thin,
    Unreadable,
    collect,
    digest,
)
from crm_integration.adapters.examples import Example
from crm_integration.adapters.needs import Field, Need
from crm_integration.adapters.pushing import Names, Outcomes, PushKind, Values, Write
from crm_integration.adapters.reading import BadField, Fields, load_objects
from crm_integration.models import Connection
from crm_integration.schemes import Scheme
from segmentation import normal

BATCH = 100
MOST_VALUE = 2000
# A search ends after ten thousand records; before that it begins anew at the last change seen.
SEARCH_END = 9_000
IDENTITY = ("portalId", "subscriptionId", "eventId", "occurredAt")
OBJECT_TYPES = {"0-1": "contact", "0-3": "deal"}
KINDS = {"contact": "contacts", "deal": "deals"}
CHANGES = frozenset({"creation", "propertyChange", "restore", "merge", "associationChange"})
GONE = {"deletion": PrivacyKind.DELETED, "privacyDeletion": PrivacyKind.ERASE}
CHANGED_AT = {"contacts": "lastmodifieddate", "deals": "hs_lastmodifieddate"}


class HubSpotAdapter(Adapter):
    slug = "hubspot"
    label = "HubSpot"
    secret_is_theirs = True
    retries_are_identical = False  # attemptNumber
    can_reconcile = True
    pushing = PushKind(batch=hubspot_push.BATCH, name_pattern=r"[a-z][a-z0-9_]{0,99}")
    can_read_back = True
    api_root: ClassVar[str] = "https://api.hubapi.com"
    blurb = _("Contacts and won deals. Messages only name records, so it needs an access token as well.")
    secret_hint = _("In the private app's settings, on the tab “Auth”: the client secret.")
    scheme = Scheme(
        "x-hubspot-signature-v3",
        base="{method}{url}{body}{timestamp}",
        timestamp_header="x-hubspot-request-timestamp",
        in_milliseconds=True,
    )
    example = Example(
        [
            {
                "eventId": "{key}",
                "subscriptionId": 0,
                "portalId": 0,
                "occurredAt": "{epoch}",
                "subscriptionType": "contact.creation",
                "attemptNumber": 0,
                "objectId": "{person}",
            }
        ],
        note=_(
            "HubSpot's messages only name a record, and no record has the name of this test: it gets as far as "
            "“understood”. Change a contact in HubSpot and watch that message for the rest."
        ),
    )
    topics = (
        "contact.creation",
        "contact.propertyChange",
        "contact.merge",
        "contact.deletion",
        "contact.privacyDeletion",
        "deal.creation",
        "deal.propertyChange",
    )
    needs = (
        Need(
            "access_token",
            _("Private app access token"),
            _(
                "Starts with pat-. It needs crm.objects.contacts.read and crm.objects.deals.read; "
                "crm.objects.contacts.write and crm.schemas.contacts.read to write to contacts."
            ),
            Field.SECRET,
        ),
    )
    steps = (
        _("Create a private app; its client secret is the signing secret: enter it on this page."),
        _("In the app's webhooks, use the address of this page and subscribe to the topics below."),
        _("HubSpot's messages only name records: without the access token they cannot be read."),
        _("A deal counts as an order when it is won; it needs an amount, a close date and a contact."),
    )

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: int) -> None:
        stamp = delivery.headers.get("x-hubspot-request-timestamp", b"")
        given = delivery.headers.get("x-hubspot-signature-v3", b"")
        content = b"POST" + delivery.url.encode() + delivery.body + stamp
        if not secrets:
            raise signatures.BadSignature(signatures.Reason.NO_SECRET)
        signatures.check_time(signatures.read_timestamp(stamp), now=now)
        signatures.verify_mac([given], content, secrets=secrets)

    def dedupe_key(self, delivery: Delivery) -> str:
        """What the events are, not how often they were tried: eventId alone is not unique."""
        try:
            entries = load_objects(delivery.body)
        except BadField:
            return digest(delivery.body)
        return digest(*sorted(_identity(entry).encode() for entry in entries))

    def parse(self, body: bytes, *, message_key: str, topic: str = "") -> Parsed:
        try:
            entries = [Fields(entry, f"[{item}]") for item, entry in enumerate(load_objects(body))]
            names = [_name(entry) for entry in entries]
        except BadField as problem:
            raise Unreadable(str(problem)) from problem
        # The same event twice in a message is one; of many changes of a record one fetch is enough.
        told = {_identity(entry.values): (item, entry) for item, entry in reversed(list(enumerate(entries)))}
        parsed = collect(_title(names), sorted(told.values(), key=lambda pair: pair[0]), _read)
        if not any(_is_known(name) for name in names):
            return Parsed(parsed.topic, is_known=False)
        return replace(parsed, thin=_once(parsed.thin))

    def hydrate(self, parsed: Parsed, connection: Connection) -> Parsed:
        if not parsed.thin:
            return parsed
        api, told = self._api(connection), Parsed(parsed.topic)
        for kind in KINDS.values():
            wanted = [thin for thin in parsed.thin if thin.kind == kind]
            for start in range(0, len(wanted), BATCH):
                part = wanted[start : start + BATCH]
                items = {thin.key: thin.item for thin in part}
                told = told.plus(_fetch(api, kind, items, parsed.topic))
        return parsed.plus(told)

    def pages(
        self, connection: Connection, *, since: datetime, until: datetime, cursor: Cursor | None
    ) -> Iterator[Page]:
        api = self._api(connection)
        start = int(since.timestamp() * 1000)
        at: Cursor | None = cursor or {"kind": "contacts", "since": start, "after": 0}
        while at is not None:
            kind = at["kind"]
            content = fetching.content(api.post_list(f"/crm/v3/objects/{kind}/search", _search(at, until)))
            rows = fetching.rows(content, "results")
            keys = {str(row.get("id")): item for item, row in enumerate(rows)}
            parsed = _read_records(api, kind, rows, keys, kind)
            at = _after(at, rows, content, start)
            yield Page(parsed, at)

    def push(self, connection: Connection, writes: Sequence[Write], *, names: Names) -> Outcomes:
        return hubspot_push.push(self._api(connection), writes)

    def probe(self, connection: Connection, *, names: Names) -> None:
        hubspot_push.probe(self._api(connection), names=names)

    def read_back(
        self, connection: Connection, references: Sequence[str], *, names: Names
    ) -> Mapping[str, Values]:
        return hubspot_push.read_back(self._api(connection), references, names=names)

    def _api(self, connection: Connection) -> fetching.Api:
        [token] = fetching.credentials(connection, "access_token")
        return fetching.Api(self.api_root, fetching.bearer(token), time.sleep, hubspot_push.asked_wait)


def _identity(entry: Mapping[str, Any]) -> str:
    return "|".join(str(entry.get(name, "")) for name in IDENTITY)


def _name(entry: Fields) -> str:
    """contact.creation and the like; newer subscriptions say object.creation and number the kind of object."""
    name = entry.text("subscriptionType", most=80) or entry.text("eventType", most=80, required=True)
    kind, _dot, change = name.partition(".")
    if kind == "object":
        kind = OBJECT_TYPES.get(entry.text("objectTypeId", most=20), kind)
    return f"{kind}.{change}"


def _is_known(name: str) -> bool:
    kind, _dot, change = name.partition(".")
    return kind in KINDS and (change in CHANGES or change in GONE)


def _title(names: Sequence[str]) -> str:
    distinct = sorted(set(names))
    return distinct[0] + (f" +{len(distinct) - 1}" if len(distinct) > 1 else "")


def _read(entry: Fields) -> Found:
    name = _name(entry)
    if not _is_known(name):
        return Found()
    kind, _dot, change = name.partition(".")
    key = entry.text("objectId", most=normal.MAX_REFERENCE, required=True)
    if change in GONE:
        # A deal that is deleted takes nothing back: what was paid stays true.
        return Found(privacy=(PrivacyRequest(GONE[change], key),)) if kind == "contact" else Found()
    if change == "merge":
        return _merge(entry, kind, key)
    changed = None
    name = entry.clipped("propertyName", most=200)
    if change == "propertyChange" and name:
        changed = {name: entry.clipped("propertyValue", most=MOST_VALUE)}
    return Found(thin=(Thin(0, KINDS[kind], key, changed),))


def _merge(entry: Fields, kind: str, key: str) -> Found:
    """The record that is left may be a third one (developers.hubspot.com/changelog/new-subscription-types-for-webhooks)."""
    primary = entry.text("primaryObjectId", most=normal.MAX_REFERENCE) or key
    kept = entry.text("newObjectId", most=normal.MAX_REFERENCE) or primary
    told = entry.values.get("mergedObjectIds")
    gone = [str(one) for one in (told if isinstance(told, list) else []) if isinstance(one, int | str)]
    merged = (Merged(kept, tuple(dict.fromkeys([primary, *gone]))),) if kind == "contact" else ()
    return Found(thin=(Thin(0, KINDS[kind], kept),), merged=merged)


def _once(thin: Sequence[Thin]) -> tuple[Thin, ...]:
    """Each record once, with all that changed in it; nothing is known of that where one event does not say."""
    found: dict[tuple[str, str], Thin] = {}
    for one in thin:
        before = found.get((one.kind, one.key))
        if before is None:
            found[one.kind, one.key] = one
            continue
        both = before.changed is not None and one.changed is not None
        changed = {**(before.changed or {}), **(one.changed or {})} if both else None
        found[one.kind, one.key] = replace(before, changed=changed)
    return tuple(found.values())


def _fetch(api: fetching.Api, kind: str, items: Mapping[str, int], topic: str) -> Parsed:
    """Records that are gone meanwhile are simply not in the answer."""
    asked = {"properties": list(records.PROPERTIES[kind]), "inputs": [{"id": key} for key in items]}
    answer = api.post(f"/crm/v3/objects/{kind}/batch/read", asked)
    rows = fetching.rows(fetching.content(answer), "results") if answer is not None else []
    return _read_records(api, kind, rows, items, topic)


def _read_records(
    api: fetching.Api, kind: str, rows: Sequence[Mapping[str, Any]], items: Mapping[str, int], topic: str
) -> Parsed:
    entries = [(items.get(str(row.get("id")), 0), Fields(row)) for row in rows]
    if kind == "contacts":
        return collect(topic, entries, records.contact)
    owners = _owners(api, [str(row.get("id")) for row in rows])
    return collect(topic, entries, lambda row: records.deal(row, owners.get(str(row.values.get("id")))))


def _owners(api: fetching.Api, deals: Sequence[str]) -> dict[str, str]:
    """The first contact of each deal."""
    if not deals:
        return {}
    asked = {"inputs": [{"id": key} for key in deals]}
    answer = api.post("/crm/v4/associations/deals/contacts/batch/read", asked)
    rows = fetching.rows(fetching.content(answer), "results") if answer is not None else []
    owners = {}
    for row in map(Fields, rows):
        contacts = row.objects("to", most=1000)
        if contacts:
            owners[row.part("from").clipped("id", most=40)] = contacts[0].clipped("toObjectId", most=40)
    return owners


def _search(at: Cursor, until: datetime) -> dict[str, Any]:
    name = CHANGED_AT[at["kind"]]
    times = {"propertyName": name, "operator": "BETWEEN", "value": str(at["since"])}
    limits = {**times, "highValue": str(int(until.timestamp() * 1000))}
    return {
        "filterGroups": [{"filters": [limits]}],
        "sorts": [{"propertyName": name, "direction": "ASCENDING"}],
        "properties": list(records.PROPERTIES[at["kind"]]),
        "limit": BATCH,
        **({"after": str(at["after"])} if at["after"] else {}),
    }


def _after(at: Cursor, rows: Sequence[Mapping[str, Any]], content: Any, start: int) -> Cursor | None:
    following = Fields(content).part("paging").part("next").clipped("after", most=40)
    if following.isdigit() and int(following) < SEARCH_END:
        return {**at, "after": int(following)}
    last = Fields(rows[-1]).part("properties").moment(CHANGED_AT[at["kind"]]) if rows else None
    if following and last is not None:
        return {**at, "since": int(last.astimezone(UTC).timestamp() * 1000), "after": 0}
    return {"kind": "deals", "since": start, "after": 0} if at["kind"] == "contacts" else None
