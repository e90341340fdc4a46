"""Codes used with orders → which offer was redeemed, by whom, and which campaign had given it.

One place for every door: whatever stores an order (webhook, REST, queue, file) stores its codes (EventCode) and calls
`record` in the same transaction. An order's newer version replaces what was said of the older one; a later change of the
order that names codes, or says that there are none, does too.

A code of a pool belongs to one grant and so to one campaign, whoever orders with it. A shared code counts for the
campaign that last gave its offer to the customer before the order; without one the offer was redeemed, but by nobody
to whom a campaign gave it. Codes are compared without regard to capitals, as shops do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Lower

from segmentation import bulk
from segmentation.batches import batches
from segmentation.identities import survivor_ids
from segmentation.kinds import EventKind
from segmentation.models import Customer, Decision, Event, EventCode, Grant, Offer, OfferCode, Redemption

KINDS: Final = (EventKind.ORDER_PLACED, EventKind.ORDER_CHANGED)
_COLUMNS: Final = (
    "offer_id",
    "customer_id",
    "event_id",
    "campaign_id",
    "grant_number",
    "code",
    "discount_minor",
    "redeemed_at",
)


@dataclass(frozen=True)
class Used:
    """A code that stands on an order. discount None: the source says only what the whole order had off."""

    event_id: int
    customer_id: int
    at: datetime
    code: str
    discount_minor: int | None
    order_discount_minor: int
    order: str = ""


@dataclass(frozen=True)
class Given:
    """An offer that a customer has, or had, from a campaign."""

    at: datetime
    campaign_id: int | None
    grant_number: int | None = None


def record(event_ids: Sequence[int]) -> int:
    """Redemptions of these orders, whose codes are stored; returns how many are new. Needs a transaction."""
    used = _newest_told(_used(event_ids))
    if not used:
        return 0
    shared = _shared({one.code.lower() for one in used})
    unique = _unique({spelling for one in used for spelling in (one.code, one.code.lower())})
    passed = [(one, offer) for one in used for offer in shared.get(one.code.lower(), ())]
    given = _given(passed) if passed else {}
    rows = {}
    for one in used:
        for offer, campaign, grant in unique.get(one.code.lower(), ()):
            rows[one.event_id, offer] = _row(one, offer, campaign, grant)
    for one, offer in passed:
        last = _last(given.get((one.customer_id, offer), ()), one.at)
        campaign, grant = (last.campaign_id, last.grant_number) if last is not None else (None, None)
        rows.setdefault((one.event_id, offer), _row(one, offer, campaign, grant))
    return bulk.insert(Redemption, _COLUMNS, list(rows.values()), on_conflict="ignore")


def forget(event_ids: Iterable[int]) -> None:
    """A newer version of these orders is stored: what it says counts."""
    for part in batches(list(event_ids)):
        Redemption.objects.filter(event__in=part).delete()


def _newest_told(used: Sequence[Used]) -> list[Used]:
    """Codes of each order's newest telling, at the time of its first; what the others redeemed is forgotten.

    Some sources tell a change as a fact of its own (ORDER_CHANGED) beside the order that was placed.
    """
    tellings = _tellings({one.customer_id for one in used if one.order})
    kept: list[Used] = []
    outdated: set[int] = set()
    for one in used:
        told = tellings.get((one.customer_id, one.order))
        if told is None:
            kept.append(one)
            continue
        (first, _event), newest = told[0], told[-1][1]
        outdated |= {event for _at, event in told if event != newest}
        if one.event_id == newest:
            kept.append(replace(one, at=first))
    forget(sorted(outdated))
    return kept


def _tellings(customers: set[int]) -> dict[tuple[int, str], list[tuple[datetime, int]]]:
    """(customer, order) → when, and by which event, each order was told that a change with codes names; by time."""
    columns = ("customer_id", "order_key", "occurred_at", "pk")
    standing = Event.objects.filter(superseded_at__isnull=True).exclude(order_key="")
    with_codes = Exists(EventCode.objects.filter(event=OuterRef("pk")))
    changes = standing.filter(with_codes, kind=EventKind.ORDER_CHANGED)
    rows = list(bulk.values_in(changes, sorted(customers), *columns))
    found: dict[tuple[int, str], list[tuple[datetime, int]]] = {row[:2]: [] for row in rows}
    if rows:
        placed = standing.filter(kind=EventKind.ORDER_PLACED)
        rows += bulk.values_in(placed, sorted({row[0] for row in rows}), *columns)
    for customer, order, at, event in sorted(rows, key=lambda row: row[2:]):
        if (customer, order) in found:
            found[customer, order].append((at, event))
    return found


def _row(one: Used, offer: int, campaign: int | None, grant: int | None) -> tuple[object, ...]:
    off = one.order_discount_minor if one.discount_minor is None else one.discount_minor
    return (offer, one.customer_id, one.event_id, campaign, grant, one.code, off, one.at)


def _used(event_ids: Sequence[int]) -> list[Used]:
    """Codes of those orders among the events that stand."""
    told = list(
        bulk.values_in(
            EventCode.objects.all(), list(event_ids), "event_id", "code", "discount_minor", by="event_id"
        )
    )
    if not told:
        return []
    columns = ("pk", "customer_id", "occurred_at", "discount_minor", "order_key")
    standing = Event.objects.filter(superseded_at__isnull=True, kind__in=KINDS)
    orders = {
        row[0]: row[1:]
        for row in bulk.values_in(standing, sorted({row[0] for row in told}), *columns, by="pk")
    }
    alone: dict[int, int] = {}
    for event, _code, _off in told:
        alone[event] = alone.get(event, 0) + 1
    return [
        # Of several codes nobody says which of them took how much: then each is told without.
        Used(
            event,
            orders[event][0],
            orders[event][1],
            code,
            off,
            orders[event][2] if alone[event] == 1 else 0,
            orders[event][3],
        )
        for event, code, off in told
        if event in orders
    ]


def _shared(codes: set[str]) -> dict[str, list[int]]:
    """Code in small letters → the offers that everybody redeems with it."""
    found: dict[str, list[int]] = {}
    for offer, code in Offer.objects.exclude(code="").order_by("pk").values_list("pk", "code"):
        if code.lower() in codes:
            found.setdefault(code.lower(), []).append(offer)
    return found


def _unique(codes: set[str]) -> dict[str, list[tuple[int, int | None, int | None]]]:
    """Code in small letters → (offer, campaign, grant) of each pool that holds it."""
    found: dict[str, list[tuple[int, int | None, int | None]]] = {}
    grants: dict[int, int] = {}
    rows: list[tuple[str, int, int | None]] = []
    for part in batches(sorted(codes)):
        held = OfferCode.objects.annotate(small=Lower("code")).filter(small__in=part)
        rows += held.order_by("pk").values_list("code", "offer_id", "grant_number")
    numbers = [number for _code, _offer, number in rows if number is not None]
    for part_ in batches(sorted(numbers)):
        grants |= dict(Grant.objects.filter(pk__in=part_).values_list("pk", "campaign_id"))
    for code, offer, number in rows:
        found.setdefault(code.lower(), []).append((offer, grants.get(number or 0), number))
    return found


def _given(passed: Sequence[tuple[Used, int]]) -> dict[tuple[int, int], list[Given]]:
    """(customer, offer) → when which campaign gave it, by time. What anybody has who is the same person counts."""
    customers = {one.customer_id for one, _offer in passed}
    offers = {offer for _one, offer in passed}
    people = survivor_ids(customers)
    everyone: dict[int, int] = {}
    for part in batches(sorted(set(people.values()))):
        rows = Customer.objects.filter(Q(pk__in=part) | Q(merged_into__in=part))
        everyone |= {key: into or key for key, into in rows.values_list("pk", "merged_into")}
    by_person: dict[tuple[int, int], list[Given]] = {}
    for part in batches(sorted(everyone)):
        mine = Q(customer__in=part, offer__in=offers)
        grants = Grant.objects.filter(mine).values_list(
            "customer_id", "offer_id", "granted_at", "campaign_id", "pk"
        )
        for who, offer, at, campaign, number in grants:
            by_person.setdefault((everyone[who], offer), []).append(Given(at, campaign, number))
        told = Decision.objects.filter(mine).values_list(
            "customer_id", "offer_id", "decided_at", "campaign_id"
        )
        for who, decided, at, campaign in told:
            if decided is not None:
                by_person.setdefault((everyone[who], decided), []).append(Given(at, campaign))
    for rows_ in by_person.values():
        rows_.sort(key=lambda one: (one.at, one.grant_number or 0))
    return {
        (one.customer_id, offer): by_person.get((people.get(one.customer_id, one.customer_id), offer), [])
        for one, offer in passed
    }


def _last(given: Sequence[Given], at: datetime) -> Given | None:
    """The last before the order. A decision and its grant are of one moment: the grant knows more."""
    before = [one for one in given if one.at <= at]
    if not before:
        return None
    newest = before[-1]
    same = [one for one in before if one.grant_number is not None and one.campaign_id == newest.campaign_id]
    return same[-1] if same else newest
