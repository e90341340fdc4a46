"""Mautic: HMAC of the body alone, no id and no time; many events a message (Settings → Webhooks)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from crm_integration import fetching, signatures
from crm_integration.adapters import mautic_push
from crm_integration.adapters.base import (
    Adapter,
    Cursor,
    Delivery,
    Found,
    Page,
    Parsed,
    PrivacyKind,
    PrivacyRequest,
    Shown,
    Unreadable,
    collect,
    digest,
)
from crm_integration.adapters.examples import Example
from crm_integration.adapters.needs import Field, Need
from crm_integration.adapters.pushing import Names, Outcomes, PushKind, Values, Write
from crm_integration.adapters.reading import BadField, Fields, load_object
from crm_integration.models import Connection
from crm_integration.schemes import Scheme
from segmentation import normal
from segmentation.kinds import EventKind
from segmentation.normal import NormalConsent, NormalCustomer, NormalEvent

PREFIX = "mautic."
PAGE_SIZE = 100
MAX_ENTRIES = 1000
# 2 is a bounce, which says nothing about what somebody wants.
REFUSALS = (1, 3)
REFUSED = frozenset({"unsubscribed", "manual"})
# Contacts that were never changed have no date of change, so the new ones are asked for separately.
PASSES = {"dateModified": "date_modified", "dateAdded": "date_added"}


class MauticAdapter(Adapter):
    slug = "mautic"
    label = "Mautic"
    can_reconcile = True
    pushing = PushKind(
        batch=mautic_push.BATCH,
        name_pattern=r"[a-z][a-z0-9_]{0,24}",
        has_tags=True,
        joins_segments=True,
        with_units=True,
    )
    can_read_back = True
    api_root: ClassVar[str] = "{site}"
    blurb = _("Contacts, points, opt-outs and page hits of a Mautic installation.")
    scheme = Scheme("webhook-signature")
    example = Example(
        {
            "mautic.lead_post_save_new": [
                {
                    "contact": {"id": "{person}", "dateAdded": "{now}", "dateModified": "{now}"},
                    "timestamp": "{now}",
                }
            ]
        }
    )
    needs = (
        Need(
            "site",
            _("Address of Mautic"),
            _("Such as https://mautic.example.com"),
            Field.ADDRESS,
            required=True,
        ),
        Need(
            "user",
            _("API user"),
            _(
                "A user with the right to view contacts (and to edit them, to write); switch on HTTP basic auth."
            ),
            Field.SECRET,
        ),
        Need("password", _("Password of the API user"), field=Field.SECRET),
    )
    steps = (
        _("In Mautic, open Settings → Webhooks and add one with the address and the secret of this page."),
        _("Choose the events below. Set the order to “Chronological”."),
        _(
            "Some versions of Mautic drop a message that could not be delivered: the nightly comparison finds it."
        ),
    )

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: int) -> None:
        given = delivery.headers.get("webhook-signature", b"")
        signatures.verify_mac([given], delivery.body, secrets=secrets)

    def dedupe_key(self, delivery: Delivery) -> str:
        return digest(delivery.body)

    def parse(self, body: bytes, *, message_key: str, topic: str = "") -> Parsed:
        try:
            told = Fields(load_object(body))
            entries = [(name, entry) for name in told.values for entry in _entries(told, name)]
        except BadField as problem:
            raise Unreadable(str(problem)) from problem
        names = sorted({name for name, _entry in entries} or told.values)
        if not names:
            raise Unreadable(_t("The body names no event."))
        title = names[0][:80] + (f" +{len(names) - 1}" if len(names) > 1 else "")
        if not any(name in TOPICS for name in names):
            return Parsed(title, is_known=False)
        return collect(title, enumerate(entries), lambda pair: _read(*pair))

    def pages(
        self, connection: Connection, *, since: datetime, until: datetime, cursor: Cursor | None
    ) -> Iterator[Page]:
        api = _api(self.api_root, connection)
        at: Cursor | None = cursor or {"by": "dateModified", "start": 0}
        while at is not None:
            order = {"orderBy": PASSES[at["by"]], "orderByDir": "desc"}
            answer = api.get_list("/api/contacts", limit=PAGE_SIZE, start=at["start"], **order)
            rows = fetching.rows(fetching.content(answer), "contacts")
            fresh = [row for row in rows if _is_within(row, at["by"], since, until)]
            at = _after(at, rows, since)
            entries = [(number, Fields(row, f"contacts[{number}]")) for number, row in enumerate(fresh)]
            yield Page(collect("contacts", entries, lambda row: _contact(row, None)), at)

    def push(self, connection: Connection, writes: Sequence[Write], *, names: Names) -> Outcomes:
        return mautic_push.push(_api(self.api_root, connection), writes)

    def probe(self, connection: Connection, *, names: Names) -> None:
        mautic_push.probe(_api(self.api_root, connection))

    def read_back(
        self, connection: Connection, references: Sequence[str], *, names: Names
    ) -> Mapping[str, Values]:
        return mautic_push.read_back(_api(self.api_root, connection), references, names=names)


def _api(root: str, connection: Connection) -> fetching.Api:
    user, password = fetching.credentials(connection, "user", "password")
    site = root.format(site=str(connection.options.get("site", "")).rstrip("/"))
    return fetching.Api(site, fetching.basic(user, password), time.sleep)


def _is_within(row: Mapping[str, Any], name: str, since: datetime, until: datetime) -> bool:
    try:
        moment = Fields(row).moment(name, utc=True)
    except BadField:
        return True  # it will be rejected with its reason
    return moment is not None and since <= moment <= until


def _after(at: Cursor, rows: Sequence[Mapping[str, Any]], since: datetime) -> Cursor | None:
    """Newest first, until they are older than asked for."""
    oldest = Fields(rows[-1]).moment(at["by"], utc=True) if rows else None
    if len(rows) == PAGE_SIZE and oldest is not None and oldest >= since:
        return {**at, "start": at["start"] + PAGE_SIZE}
    return {"by": "dateAdded", "start": 0} if at["by"] == "dateModified" else None


def _entries(told: Fields, name: str) -> list[Fields]:
    """A list of events, or one; the test button wraps them in their name once more."""
    value = told.values.get(name)
    if isinstance(value, dict):
        return _entries(told.part(name), name) if name in value else [told.part(name)]
    return told.objects(name, most=MAX_ENTRIES) if name.startswith(PREFIX) else []


def _read(name: str, entry: Fields) -> Found:
    reader = TOPICS.get(name)
    return reader(entry) if reader else Found()


def _subject(entry: Fields) -> Fields:
    return entry.part("contact") if isinstance(entry.values.get("contact"), dict) else entry.part("lead")


def _contact(data: Fields, at: datetime | None) -> Found:
    """A contact, and the fact that they became one."""
    reference = data.text("id", most=normal.MAX_REFERENCE, required=True)
    added_at = data.moment("dateIdentified", utc=True) or data.moment("dateAdded", utc=True)
    updated_at = data.moment("dateModified", utc=True) or added_at or at
    person = NormalCustomer(
        reference=reference,
        email=_field(data, "email", 254),
        first_name=_field(data, "firstname", 150),
        last_name=_field(data, "lastname", 150),
        phone=_field(data, "phone", 50) or _field(data, "mobile", 50),
        country=_field(data, "country", 64),
        language=_field(data, "preferred_locale", 35),
        signed_up_at=added_at,
        consents=_refusal(data, updated_at),
        attributes={"mautic_points": data.whole("points", default=0, least=-(2**31))}
        if data.has("points")
        else {},
        updated_at=updated_at,
    )
    ours = (Shown(reference, mautic_push.shown(data.values), mautic_push.tags(data.values)),)
    if added_at is None:
        return Found(customers=(person,), shown=ours)
    signed_up = NormalEvent(reference, EventKind.SIGNED_UP, added_at, reference)
    return Found((signed_up,), (person,), shown=ours)


def _field(data: Fields, alias: str, most: int) -> str:
    """A field of the contact, in whichever group staff keep it; the API lists the plain values under “all”."""
    groups = data.part("fields")
    for name in groups.values:
        group = groups.part(name)
        value = group.part(alias).clipped("value", most=most) or group.clipped(alias, most=most)
        if value:
            return value
    return ""


def _refusal(data: Fields, at: datetime | None) -> tuple[NormalConsent, ...]:
    for rule in data.objects("doNotContact", most=MAX_ENTRIES):
        if rule.clipped("channel", most=20) == "email" and rule.values.get("reason") in REFUSALS and at:
            return (NormalConsent("marketing", "denied", at),)
    return ()


def _saved(entry: Fields) -> Found:
    return _contact(_subject(entry), entry.moment("timestamp", utc=True))


def _subscription(entry: Fields) -> Found:
    """Who is contactable again after they had refused has changed their mind; else it is no consent."""
    at = entry.moment("timestamp", utc=True)
    if entry.text("channel", most=40) != "email" or at is None:
        return Found()
    before, after = (entry.text(name, most=40) for name in ("old_status", "new_status"))
    answer = (
        "denied" if after in REFUSED else "granted" if before in REFUSED and after == "contactable" else ""
    )
    reference = _subject(entry).text("id", most=normal.MAX_REFERENCE, required=True)
    consents = (NormalConsent("marketing", answer, at),) if answer else ()
    return Found(customers=(NormalCustomer(reference=reference, consents=consents, updated_at=at),))


def _hit(entry: Fields) -> Found:
    hit = entry.part("hit")
    key = hit.text("id", most=normal.MAX_SOURCE_KEY, required=True)
    at = hit.moment("dateHit", utc=True) or entry.moment("timestamp", utc=True)
    person = hit.part("lead").text("id", most=normal.MAX_REFERENCE, required=True)
    if at is None:
        raise BadField(_t("%(field)s is missing.") % {"field": hit.name("dateHit")})
    return Found((NormalEvent(f"hit-{key}", EventKind.VIEWED, at, person),))


def _deleted(entry: Fields) -> Found:
    """The contact inside has lost its id; that of the entry counts."""
    key = entry.text("id", most=normal.MAX_REFERENCE) or _subject(entry).text(
        "id", most=normal.MAX_REFERENCE, required=True
    )
    return Found(privacy=(PrivacyRequest(PrivacyKind.DELETED, key),))


TOPICS: dict[str, Callable[[Fields], Found]] = {
    "mautic.lead_post_save_new": _saved,
    "mautic.lead_post_save_update": _saved,
    "mautic.lead_points_change": _saved,
    "mautic.lead_channel_subscription_changed": _subscription,
    "mautic.page_on_hit": _hit,
    "mautic.lead_post_delete": _deleted,
}
MauticAdapter.topics = tuple(TOPICS)
