"""Normal events and customers in, rows out. Idempotent: what is already stored is counted and left alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import polars as pl
from django.db import transaction

from segmentation import (
    attributes,
    bulk,
    consents,
    contacts,
    crypto,
    event_store,
    identities,
    products,
    tombstones,
)
from segmentation.due import mark_due
from segmentation.locks import lock_customers
from segmentation.models import AttributeDefinition, Customer, Event, EventSource, Shop
from segmentation.models.shop import minor_digits
from segmentation.normal import (
    IngestReport,
    NormalConsent,
    NormalCustomer,
    NormalEvent,
    NormalItem,
    Rejection,
    customer_problem,
    event_problem,
)
from segmentation.rates import AmountError, Rates, to_minor

__all__ = [
    "IngestReport",
    "NormalConsent",
    "NormalCustomer",
    "NormalEvent",
    "NormalItem",
    "Rejection",
    "mark_due",
    "record_customers",
    "record_events",
    "record_people",
    "rejections",
]


_PROFILE = {
    "id": pl.Int64(), "country": pl.String(), "channel": pl.String(), "signed_up_at": pl.Datetime("us", "UTC"),
}  # fmt: skip
Person = tuple[NormalCustomer, list[attributes.Fitted]]


@dataclass(frozen=True)
class Money:
    """An event's amounts: base minor units, and the original in the minor units of its currency."""

    amount: int
    discount: int
    original: int | None
    items: tuple[int, ...]


def record_events(
    events: Sequence[NormalEvent], *, source: EventSource, namespace: str, received_at: datetime, cause: str
) -> IngestReport:
    """Store events, making customers and products that are new, and mark the customers due.

    What cannot be stored is rejected by its position, with the reason; the rest is stored. Guests join by
    e-mail when the shop allows it, else they are counted as anonymous and not stored. What tells of somebody who was
    erased is counted and left out.
    """
    shop = Shop.get()
    accepted, rejected = _judge(events, shop=shop, received_at=received_at)
    with transaction.atomic():
        erased = tombstones.among((_names(event) for event in events), namespace=namespace)
        if erased:
            accepted = [pair for pair in accepted if _names(pair[0]) not in erased]
            rejected = [one for one in rejected if _names(events[one.index]) not in erased]
        owners, new_customers = _owners([event for event, _money in accepted], namespace=namespace, shop=shop)
        named = [pair for pair in accepted if _who(pair[0]) in owners]
        stored = _store(named, owners=owners, source=source, received_at=received_at)
        mark_due(stored.customer_ids, cause=cause)
    return IngestReport(
        created=stored.created,
        repeated=stored.repeated,
        anonymous=len(accepted) - len(named),
        erased=sum(_names(event) in erased for event in events),
        customers_created=new_customers,
        customer_ids=frozenset(stored.customer_ids),
        rejected=tuple(rejected),
    )


def rejections(events: Sequence[NormalEvent], *, received_at: datetime) -> list[Rejection]:
    """What `record_events` would reject of these, by position; nothing is stored."""
    return _judge(events, shop=Shop.get(), received_at=received_at)[1]


def _judge(
    events: Sequence[NormalEvent], *, shop: Shop, received_at: datetime
) -> tuple[list[tuple[NormalEvent, Money]], list[Rejection]]:
    rates = Rates(shop)
    rejected: list[Rejection] = []
    accepted: list[tuple[NormalEvent, Money]] = []
    for index, event in enumerate(events):
        problem = event_problem(event, received_at=received_at, frozen=shop.frozen_on is not None)
        try:
            money = _money(event, rates) if not problem else None
        except AmountError as error:
            problem, money = str(error), None
        if money is None:
            rejected.append(Rejection(index, problem))
        else:
            accepted.append((event, money))
    return accepted, rejected


def record_customers(
    customers: Sequence[NormalCustomer],
    *,
    namespace: str,
    source: EventSource,
    received_at: datetime,
    cause: str,
) -> IngestReport:
    """Store what a source says about customers: profile, contact, consent, attributes; mark the changed due.

    A customer with an attribute that does not fit its definition is rejected as a whole.
    """
    rejected: list[Rejection] = []
    accepted: list[Person] = []
    with transaction.atomic():
        erased = tombstones.among(
            ((customer.reference, customer.email.strip()) for customer in customers), namespace=namespace
        )
        kept = {
            index: customer
            for index, customer in enumerate(customers)
            if (customer.reference, customer.email.strip()) not in erased
        }
        definitions = _definitions(list(kept.values()))
        for index, customer in kept.items():
            try:
                if problem := customer_problem(customer):
                    raise ValueError(problem)
                accepted.append((customer, attributes.fit(customer.attributes, definitions)))
            except ValueError as error:
                rejected.append(Rejection(index, str(error)))
        references = {customer.reference for customer, _values in accepted}
        ids, new = identities.find_or_create_many(namespace, references)
        changed = set(new)
        for turn in _turns(accepted):
            people = {ids[customer.reference]: (customer, values) for customer, values in turn}
            changed |= record_people(people, source=source, received_at=received_at)
        mark_due(changed, cause=cause)
    return IngestReport(
        created=len(changed),
        repeated=len(ids) - len(changed),
        erased=len(customers) - len(kept),
        customers_created=len(new),
        customer_ids=frozenset(changed),
        rejected=tuple(rejected),
    )


def _turns(people: Sequence[Person]) -> Iterator[list[Person]]:
    """One after the other where somebody is told about twice, so that the later word counts."""
    waiting = list(people)
    while waiting:
        turn: dict[str, Person] = {}
        later = []
        for person in waiting:
            if person[0].reference in turn:
                later.append(person)
            else:
                turn[person[0].reference] = person
        yield list(turn.values())
        waiting = later


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
    )


def _who(event: NormalEvent) -> tuple[str, str]:
    """Under what an event's owner is looked up: a reference, or a guest's e-mail."""
    return ("customer", event.customer) if event.customer else ("email", event.email.strip())


def _names(event: NormalEvent) -> tombstones.Who:
    return (event.customer or "", event.email.strip())


def _owners(
    events: Sequence[NormalEvent], *, namespace: str, shop: Shop
) -> tuple[dict[tuple[str, str], int], int]:
    """Customer id by `_who`, and how many customers are new. Guests without a home are left out."""
    references = {event.customer for event in events if event.customer}
    ids, new = identities.find_or_create_many(namespace, references)
    lock_customers(ids.values())
    owners = {("customer", reference): key for reference, key in ids.items()}
    _fill_channels(events, ids)
    contacts.write_missing_emails(
        {ids[event.customer]: event.email for event in events if event.customer and event.email}
    )
    if shop.join_guests_by_email:
        guests = {event.email.strip() for event in events if not event.customer and event.email.strip()}
        by_email, new_guests = identities.find_or_create_guests(guests)
        owners.update({("email", email): key for email, key in by_email.items()})
        new |= new_guests
    return owners, len(new)


def _fill_channels(events: Sequence[NormalEvent], ids: Mapping[str, int]) -> None:
    """The channel of somebody's first known event becomes theirs."""
    channels: dict[str, list[int]] = {}
    for event in events:
        if event.customer and event.channel:
            channels.setdefault(event.channel[:64], []).append(ids[event.customer])
    for channel, keys in channels.items():
        Customer.objects.filter(pk__in=keys, channel="").update(channel=channel)


def _store(
    pairs: Sequence[tuple[NormalEvent, Money]],
    *,
    owners: Mapping[tuple[str, str], int],
    source: EventSource,
    received_at: datetime,
) -> event_store.Stored:
    catalogue = products.ensure(
        products.SeenProduct(item.product_id, item.product_name, item.category, event.occurred_at)
        for event, _money in pairs
        for item in event.items
        if item.product_id
    )
    texts = {owners[_who(event)] for event, _money in pairs if event.text}
    keys = contacts.data_keys(texts)
    drafts = []
    for event, money in pairs:
        owner = owners[_who(event)]
        sealed = crypto.seal(keys[owner], event.text.encode()) if event.text else b""
        drafts.append(
            event_store.Draft(
                event=_row(event, money, owner, source, received_at, catalogue),
                items=_items(event, money, catalogue),
                sealed_text=sealed,
            )
        )
    return event_store.add(drafts, source=source, received_at=received_at)


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


def _definitions(customers: Sequence[NormalCustomer]) -> dict[str, AttributeDefinition]:
    """Definitions by slug; columns never seen before get the kind their values fit."""
    values: dict[str, list[object]] = {}
    for customer in customers:
        for name, value in customer.attributes.items():
            values.setdefault(attributes.slug_of(name), []).append(value)
    return {slug: attributes.define(slug, kind=attributes.infer_kind(seen)) for slug, seen in values.items()}


def record_people(people: Mapping[int, Person], *, source: EventSource, received_at: datetime) -> set[int]:
    """Store profiles by customer id; returns the customers with something new. Needs a transaction."""
    # What follows adds to what is known: without the lock, two workers would undo each other's additions.
    lock_customers(people)
    said = {key: customer for key, (customer, _values) in people.items()}
    changed = _profiles(said)
    changed |= contacts.write_many({key: _contact(customer) for key, customer in said.items()})
    changed |= identities.adopt_guests(
        {key: customer.email for key, customer in said.items() if customer.email}
    )
    changed |= consents.record(
        {key: customer.consents for key, customer in said.items() if customer.consents}, source=source.slug
    )
    changed |= attributes.write(
        attributes.DatedValue(
            key,
            fitted.definition.pk,
            fitted.valid_from or customer.updated_at or received_at,
            fitted.value,
        )
        for key, (customer, values) in people.items()
        for fitted in values
    )
    attributes.add_choices(fitted for _customer, values in people.values() for fitted in values)
    return changed


def _profiles(people: Mapping[int, NormalCustomer]) -> set[int]:
    """Country, channel and sign-up; returns who changed."""
    changed = []
    for key, *before in bulk.values_in(Customer.objects.all(), sorted(people), *_PROFILE, by="pk"):
        said = people[key]
        news = (said.country[:64], said.channel[:64], said.signed_up_at)
        after = [new or old for new, old in zip(news, before, strict=True)]
        if after != before:
            changed.append((key, *after))
    rows = pl.DataFrame(changed, schema=_PROFILE, orient="row")
    bulk.update(Customer, rows.columns, rows)
    return set(rows["id"].to_list())


def _contact(customer: NormalCustomer) -> contacts.Contact:
    return contacts.Contact(
        email=customer.email,
        first_name=customer.first_name,
        last_name=customer.last_name,
        phone=customer.phone,
        language=customer.language,
        birthday=customer.birthday,
    )
