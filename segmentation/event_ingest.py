"""Normal events in, rows out: those of one message, or of many messages of a source together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.db import transaction

from segmentation import contacts, crypto, event_store, identities, products, tombstones
from segmentation.due import mark_due
from segmentation.locks import lock_customers
from segmentation.models import Customer, Event, EventSource, Shop
from segmentation.models.shop import minor_digits
from segmentation.normal import IngestReport, NormalEvent, Rejection, event_problem
from segmentation.rates import AmountError, Rates, to_minor


@dataclass(frozen=True)
class Money:
    """An event's amounts: base minor units, and the original in the minor units of its currency."""

    amount: int
    discount: int
    original: int | None
    items: tuple[int, ...]
    codes: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Told:
    """What one message says has happened, and when it came in."""

    events: Sequence[NormalEvent]
    received_at: datetime


class _Accepted(NamedTuple):
    """An event to be stored, with the place of its message."""

    message: int
    event: NormalEvent
    money: Money


def record_events(
    events: Sequence[NormalEvent], *, source: EventSource, namespace: str, received_at: datetime, cause: str
) -> IngestReport:
    """Store events, making customers and products that are new, and mark the customers due.

    What cannot be stored is rejected by its position, with the reason; the rest is stored. Guests join by
    e-mail when the shop allows it, else they are counted as anonymous and not stored. What tells of somebody who was
    erased is counted and left out.
    """
    told = [Told(events, received_at)]
    return record_messages(told, source=source, namespace=namespace, cause=cause)[0]


def record_messages(
    told: Sequence[Told], *, source: EventSource, namespace: str, cause: str
) -> list[IngestReport]:
    """As `record_events` for several messages of one source in their order, together; a report for each."""
    if not any(one.events for one in told):
        return [IngestReport() for _one in told]
    shop = Shop.get()
    rates = Rates(shop)
    judged = [_judge(one.events, rates=rates, received_at=one.received_at) for one in told]
    with transaction.atomic():
        erased = tombstones.among(
            (_names(event) for one in told for event in one.events), namespace=namespace
        )
        accepted = [
            _Accepted(message, event, money)
            for message, (pairs, _rejected) in enumerate(judged)
            for event, money in pairs
            if _names(event) not in erased
        ]
        owners, new = _owners([one.event for one in accepted], namespace=namespace, shop=shop)
        named = [one for one in accepted if _who(one.event) in owners]
        stored = _store(named, owners=owners, source=source, received=[one.received_at for one in told])
        mark_due({key for one in stored.values() for key in one.customer_ids}, cause=cause)
    return [
        _report(
            [one for one in accepted if one.message == message],
            stored[message],
            owners=owners,
            new=new,
            erased=sum(_names(event) in erased for event in events),
            rejected=[found for found in judged[message][1] if _names(events[found.index]) not in erased],
        )
        for message, events in enumerate(one.events for one in told)
    ]


def _report(
    accepted: Sequence[_Accepted],
    stored: event_store.Stored,
    *,
    owners: Mapping[tuple[str, str], int],
    new: set[int],
    erased: int,
    rejected: Sequence[Rejection],
) -> IngestReport:
    """Of one message. new: the customers that were made and that no message before it had named."""
    theirs = [owners.get(_who(one.event)) for one in accepted]
    first_named = new & set(theirs)
    new -= first_named
    return IngestReport(
        created=stored.created,
        repeated=stored.repeated,
        anonymous=theirs.count(None),
        erased=erased,
        customers_created=len(first_named),
        customer_ids=frozenset(stored.customer_ids),
        rejected=tuple(rejected),
    )


def rejections(events: Sequence[NormalEvent], *, received_at: datetime) -> list[Rejection]:
    """What `record_events` would reject of these, by position; nothing is stored."""
    return _judge(events, rates=Rates(Shop.get()), received_at=received_at)[1]


def _judge(
    events: Sequence[NormalEvent], *, rates: Rates, received_at: datetime
) -> tuple[list[tuple[NormalEvent, Money]], list[Rejection]]:
    rejected: list[Rejection] = []
    accepted: list[tuple[NormalEvent, Money]] = []
    for index, event in enumerate(events):
        problem = event_problem(event, received_at=received_at, frozen=rates.shop.frozen_on is not None)
        try:
            money = _money(event, rates) if not problem else None
        except AmountError as error:
            problem, money = str(error), None
        if money is None:
            rejected.append(Rejection(index, problem))
        else:
            accepted.append((event, money))
    return accepted, rejected


def _money(event: NormalEvent, rates: Rates) -> Money:
    """Raises AmountError, NoRate when no rate is stored."""
    at = event.occurred_at
    currency = event.currency.upper() or rates.shop.base_currency

    def base(amount: Decimal) -> int:
        return rates.base_minor(amount, currency=currency, at=at)

    paid = (
        event.amount if event.amount is not None else sum((item.amount for item in event.items), Decimal(0))
    )
    return Money(
        amount=base(paid),
        discount=base(event.discount or Decimal(0)),
        original=to_minor(paid, minor_digits(currency)),
        items=tuple(base(item.amount) for item in event.items),
        codes=tuple(None if code.discount is None else base(code.discount) for code in event.codes),
    )


def _who(event: NormalEvent) -> tuple[str, str]:
    """Under what an event's owner is looked up: a reference, or a guest's e-mail."""
    return ("customer", event.customer) if event.customer else ("email", event.email.strip())


def _names(event: NormalEvent) -> tombstones.Who:
    return (event.customer or "", event.email.strip())


def _owners(
    events: Sequence[NormalEvent], *, namespace: str, shop: Shop
) -> tuple[dict[tuple[str, str], int], set[int]]:
    """Customer id by `_who`, and which customers are new. Guests without a home are left out."""
    references = {event.customer for event in events if event.customer}
    ids, new = identities.find_or_create_many(namespace, references)
    lock_customers(ids.values())
    owners = {("customer", reference): key for reference, key in ids.items()}
    _fill_channels(events, ids)
    emails = [
        (ids[event.customer], event.email) for event in events if event.customer and event.email.strip()
    ]
    # The first word about somebody counts, as it would if each message were stored alone.
    contacts.write_missing_emails(dict(reversed(emails)))
    if shop.join_guests_by_email:
        guests = {event.email.strip() for event in events if not event.customer and event.email.strip()}
        by_email, new_guests = identities.find_or_create_guests(guests)
        owners.update({("email", email): key for email, key in by_email.items()})
        new |= new_guests
    return owners, new


def _fill_channels(events: Sequence[NormalEvent], ids: Mapping[str, int]) -> None:
    """The channel of somebody's first known event becomes theirs."""
    first: dict[int, str] = {}
    for event in events:
        if event.customer and event.channel:
            first.setdefault(ids[event.customer], event.channel[:64])
    channels: dict[str, list[int]] = {}
    for key, channel in first.items():
        channels.setdefault(channel, []).append(key)
    for channel, keys in channels.items():
        Customer.objects.filter(pk__in=keys, channel="").update(channel=channel)


def _store(
    accepted: Sequence[_Accepted],
    *,
    owners: Mapping[tuple[str, str], int],
    source: EventSource,
    received: Sequence[datetime],
) -> defaultdict[int, event_store.Stored]:
    """What came of each message's events. received: when the messages came in."""
    catalogue = products.ensure(
        products.SeenProduct(item.product_id, item.product_name, item.category, one.event.occurred_at)
        for one in accepted
        for item in one.event.items
        if item.product_id
    )
    keys = contacts.data_keys({owners[_who(one.event)] for one in accepted if one.event.text})
    drafts = []
    for message, event, money in accepted:
        owner = owners[_who(event)]
        sealed = crypto.seal(keys[owner], event.text.encode()) if event.text else b""
        drafts.append(
            event_store.Draft(
                event=_row(event, money, owner, source, received[message], catalogue),
                items=_items(event, money, catalogue),
                sealed_text=sealed,
                codes=tuple(
                    event_store.Code(code.code, off)
                    for code, off in zip(event.codes, money.codes, strict=True)
                ),
                message=message,
            )
        )
    return event_store.add(drafts, source=source)


def _row(
    event: NormalEvent,
    money: Money,
    owner: int,
    source: EventSource,
    received_at: datetime,
    catalogue: Mapping[str, products.StoredProduct],
) -> Event:
    mask = 0
    for item in event.items:
        mask |= catalogue[item.product_id].mask if item.product_id else 0
    return Event(
        customer_id=owner,
        kind=event.kind,
        occurred_at=event.occurred_at,
        received_at=received_at,
        source=source,
        source_key=event.source_key,
        source_version=event.source_version,
        amount_minor=money.amount,
        discount_minor=money.discount,
        original_amount_minor=money.original,
        currency=event.currency.upper(),
        quantity=sum(item.quantity for item in event.items),
        line_count=len(event.items),
        category_mask=mask,
        rating=event.rating,
        order_key=event.order_key,
    )


def _items(
    event: NormalEvent, money: Money, catalogue: Mapping[str, products.StoredProduct]
) -> tuple[event_store.Line, ...]:
    return tuple(
        event_store.Line(catalogue[item.product_id].id, item.quantity, amount)
        for item, amount in zip(event.items, money.items, strict=True)
        if item.product_id
    )
