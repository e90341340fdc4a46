"""A customer's history, newest first: what they did, which segments they entered or left, what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation import crypto
from segmentation.dashboard import words
from segmentation.features.facts import UNHAPPY
from segmentation.kinds import EventKind
from segmentation.models import (
    ContactData,
    Decision,
    Event,
    EventItem,
    EventText,
    Membership,
    PastMembership,
    Segment,
    Shop,
)

PAGE = 25
ITEMS_SHOWN = 8
ORDERS = (EventKind.ORDER_PLACED, EventKind.ORDER_CHANGED, EventKind.ORDER_CANCELLED, EventKind.REFUNDED)
BROWSING = (
    EventKind.VIEWED,
    EventKind.CART_ADDED,
    EventKind.CART_REMOVED,
    EventKind.FAVOURITED,
    EventKind.SEARCHED,
)
SERVICE = (EventKind.REVIEWED, EventKind.TICKET_OPENED, EventKind.TICKET_CLOSED, EventKind.COMPLAINED)
TROUBLE = (EventKind.REFUNDED, EventKind.ORDER_CANCELLED, EventKind.COMPLAINED, EventKind.TICKET_OPENED)
RESULTS = "results"
# The first is shown unless another is asked for.
FILTERS = {
    "all": gettext_lazy("Everything"),
    "orders": gettext_lazy("Orders and returns"),
    "browsing": gettext_lazy("Browsing"),
    "service": gettext_lazy("Reviews and service"),
    RESULTS: gettext_lazy("Segments and decisions"),
}
KINDS = {"orders": ORDERS, "browsing": BROWSING, "service": SERVICE}
# The rank breaks ties between sources of the same moment, so that a cursor names one entry exactly.
EVENT, LEFT, ENTERED, JOINED, DECISION = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class Cursor:
    """The last entry of the page before."""

    at: datetime
    rank: int
    pk: int

    def __str__(self) -> str:
        return f"{self.at.isoformat()}~{self.rank}~{self.pk}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """None for an empty or broken cursor: the first page is shown."""
        try:
            at, rank, pk = text.split("~")
            moment = parse_datetime(at)
            return cls(moment, int(rank), int(pk)) if moment is not None and moment.tzinfo else None
        except ValueError:
            return None


@dataclass(frozen=True)
class Entry:
    cursor: Cursor
    tone: str
    title: str
    at: str
    detail: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Page:
    entries: tuple[Entry, ...]
    older: str
    shown: str
    filters: tuple[tuple[str, words.Text], ...]
    texts_read: int


def read(
    people: Sequence[int], query: Mapping[str, str], *, shop: Shop, with_events: bool = True, with_texts: bool
) -> Page:
    """One page of entries of a customer and whoever was merged into them; without events, results alone."""
    filters = FILTERS if with_events else {RESULTS: FILTERS[RESULTS]}
    shown = query.get("show", "")
    shown = shown if shown in filters else next(iter(filters))
    before = Cursor.parse(query.get("before", ""))
    entries: list[Entry] = []
    if shown != RESULTS:
        entries += _events(people, shown, before, shop)
    if shown in {"all", RESULTS}:
        entries += _changes(people, before)
        entries += _decisions(people, before)
    entries.sort(key=lambda entry: (entry.cursor.at, -entry.cursor.rank, entry.cursor.pk), reverse=True)
    page = entries[:PAGE]
    older = str(page[-1].cursor) if len(entries) > PAGE else ""
    texts = _texts([e.cursor.pk for e in page if e.cursor.rank == EVENT]) if with_texts else {}
    page = [_with_text(e, texts) if e.cursor.rank == EVENT else e for e in page]
    return Page(tuple(page), older, shown, tuple(filters.items()), texts_read=len(texts))


def _with_text(entry: Entry, texts: Mapping[int, tuple[str, float | None]]) -> Entry:
    """The entry with the customer's own words, and how they sound where a worker has read them."""
    if entry.cursor.pk not in texts:
        return entry
    text, sentiment = texts[entry.cursor.pk]
    sounds = () if sentiment is None else (_sounds(sentiment),)
    return replace(entry, text=text, detail=(*entry.detail, *sounds))


def _sounds(sentiment: float) -> str:
    if sentiment < UNHAPPY:
        return _("Sounds unhappy")
    return _("Sounds content") if sentiment > -UNHAPPY else _("Sounds neither content nor unhappy")


def _before(rows: QuerySet, field: str, rank: int, cursor: Cursor | None, key: str = "id") -> QuerySet:
    """Rows after the cursor in reading order (older), newest first, one more than a page holds.

    key: the number that tells rows of one moment apart.
    """
    if cursor is not None:
        older = Q(**{f"{field}__lt": cursor.at})
        if rank > cursor.rank:
            older |= Q(**{field: cursor.at})
        elif rank == cursor.rank:
            older |= Q(**{field: cursor.at, f"{key}__lt": cursor.pk})
        rows = rows.filter(older)
    return rows.order_by(f"-{field}", f"-{key}")[: PAGE + 1]


def _events(people: Sequence[int], shown: str, cursor: Cursor | None, shop: Shop) -> list[Entry]:
    rows = Event.objects.filter(customer__in=people, superseded_at=None)
    if shown in KINDS:
        rows = rows.filter(kind__in=KINDS[shown])
    events = list(_before(rows, "occurred_at", EVENT, cursor))
    items = _items([event.pk for event in events])
    return [_event_entry(event, items.get(event.pk, []), shop) for event in events]


def _event_entry(event: Event, items: list[EventItem], shop: Shop) -> Entry:
    currency = shop.base_currency
    title = str(event.get_kind_display())
    if event.amount_minor:
        title = _("%(what)s: %(amount)s") % {
            "what": title,
            "amount": words.money(event.amount_minor, currency),
        }
    if event.rating is not None:
        title = _("%(what)s: %(stars)s of 5 stars") % {"what": title, "stars": words.number(event.rating, 1)}
    detail = [_item_words(item, currency) for item in items[:ITEMS_SHOWN]]
    if len(items) > ITEMS_SHOWN:
        detail.append(_("and %(count)s more lines") % {"count": len(items) - ITEMS_SHOWN})
    tone = "trouble" if event.kind in TROUBLE else "order" if event.kind in ORDERS else "plain"
    return Entry(
        Cursor(event.occurred_at, EVENT, event.pk),
        tone,
        title,
        words.moment(event.occurred_at),
        tuple(detail),
    )


def _item_words(item: EventItem, currency: str) -> str:
    if not item.amount_minor:
        return str(item.product)
    return _("%(quantity)s × %(product)s, %(amount)s") % {
        "quantity": item.quantity,
        "product": item.product,
        "amount": words.money(item.amount_minor, currency),
    }


def _items(event_ids: list[int]) -> dict[int, list[EventItem]]:
    found: dict[int, list[EventItem]] = {}
    for item in EventItem.objects.filter(event__in=event_ids).select_related("product").order_by("id"):
        found.setdefault(item.event_id, []).append(item)
    return found


def _texts(event_ids: list[int]) -> dict[int, tuple[str, float | None]]:
    """The customer's own words, opened with the key of the customer at whom they arrived, and their sentiment."""
    rows = list(EventText.objects.filter(event__in=event_ids).select_related("event").defer("vector"))
    owners = ContactData.objects.filter(customer__in={row.event.customer_id for row in rows})
    keys = {owner: bytes(key) for owner, key in owners.values_list("customer", "data_key")}
    texts: dict[int, tuple[str, float | None]] = {}
    for row in rows:
        try:
            said = crypto.unseal(keys[row.event.customer_id], bytes(row.sealed)).decode()
            texts[row.pk] = (said, row.sentiment)
        except (KeyError, crypto.DecryptionError):
            # Erased, or sealed under a key that this installation no longer has.
            texts[row.pk] = (_("This text can no longer be opened."), None)
    return texts


def _changes(people: Sequence[int], cursor: Cursor | None) -> list[Entry]:
    """Segments entered and left. A membership that is over is both; one that lasts has its segment for a number."""
    past = PastMembership.objects.filter(customer__in=people).select_related("segment")
    now = Membership.objects.filter(customer__in=people).select_related("segment")
    return [
        *(
            _change(row.segment, Cursor(row.left_at, LEFT, row.pk), row.get_left_by_display(), entered=False)
            for row in _before(past, "left_at", LEFT, cursor)
        ),
        *(
            _change(row.segment, Cursor(row.entered_at, ENTERED, row.pk), row.get_entered_by_display())
            for row in _before(past, "entered_at", ENTERED, cursor)
        ),
        *(
            _change(row.segment, Cursor(row.entered_at, JOINED, row.segment_id), row.get_entered_by_display())
            for row in _before(now, "entered_at", JOINED, cursor, key="segment_id")
        ),
    ]


def _change(segment: Segment, cursor: Cursor, cause: str, *, entered: bool = True) -> Entry:
    title = _("Entered segment “%(name)s”") if entered else _("Left segment “%(name)s”")
    return Entry(cursor, "segment", title % {"name": segment.name}, words.moment(cursor.at), (str(cause),))


def _decisions(people: Sequence[int], cursor: Cursor | None) -> list[Entry]:
    rows = Decision.objects.filter(customer__in=people).select_related("offer", "campaign").defer("verdicts")
    return [
        Entry(
            Cursor(decision.decided_at, DECISION, decision.pk),
            "decision",
            _decision_title(decision),
            words.moment(decision.decided_at),
            (str(decision.get_cause_display()),),
        )
        for decision in _before(rows, "decided_at", DECISION, cursor)
    ]


def _decision_title(decision: Decision) -> str:
    given: dict[str, Any] = {"offer": decision.offer, "priority": decision.get_priority_display()}
    if decision.offer is None:
        return _("Decided: no offer, service priority %(priority)s") % given
    return _("Decided: %(offer)s, service priority %(priority)s") % given
