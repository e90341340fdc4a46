"""Normal events (event_ingest.py) and customers in, rows out. Idempotent: what is already stored is counted and left
alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import polars as pl
from django.db import transaction

from segmentation import (
    attributes,
    bulk,
    consents,
    contacts,
    identities,
    tombstones,
)
from segmentation.due import mark_due
from segmentation.event_ingest import Told, record_events, record_messages, rejections
from segmentation.locks import lock_customers
from segmentation.models import AttributeDefinition, Customer, EventSource
from segmentation.normal import (
    IngestReport,
    NormalCode,
    NormalConsent,
    NormalCustomer,
    NormalEvent,
    NormalItem,
    Rejection,
    customer_problem,
)

__all__ = [
    "IngestReport",
    "NormalCode",
    "NormalConsent",
    "NormalCustomer",
    "NormalEvent",
    "NormalItem",
    "Person",
    "Profiles",
    "Rejection",
    "Told",
    "mark_due",
    "record_customers",
    "record_events",
    "record_messages",
    "record_people",
    "record_profiles",
    "rejections",
]


_PROFILE = {
    "id": pl.Int64(), "country": pl.String(), "channel": pl.String(), "signed_up_at": pl.Datetime("us", "UTC"),
}  # fmt: skip


class Person(NamedTuple):
    """A profile with attributes that fit their definitions, and when it came in."""

    customer: NormalCustomer
    values: list[attributes.Fitted]
    received_at: datetime


@dataclass(frozen=True)
class Profiles:
    """What one message says about customers, and when it came in."""

    customers: Sequence[NormalCustomer]
    received_at: datetime


class _Accepted(NamedTuple):
    """A person to be stored, with the place of its message."""

    message: int
    person: Person


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
    told = [Profiles(customers, received_at)]
    return record_profiles(told, namespace=namespace, source=source, cause=cause)[0]


def record_profiles(
    told: Sequence[Profiles], *, namespace: str, source: EventSource, cause: str
) -> list[IngestReport]:
    """As `record_customers` for several messages of one source in their order, together; a report for each."""
    if not any(one.customers for one in told):
        return [IngestReport() for _one in told]
    with transaction.atomic():
        erased = tombstones.among(
            (_names(said) for one in told for said in one.customers), namespace=namespace
        )
        accepted, rejected = _judge(told, erased)
        references = {one.person.customer.reference for one in accepted}
        ids, new = identities.find_or_create_many(namespace, references)
        changed = [set[int]() for _one in told]
        for turn in _turns(accepted):
            people = {ids[reference]: one.person for reference, one in turn.items()}
            news = record_people(people, source=source)
            for reference, one in turn.items():
                if ids[reference] in news:
                    changed[one.message].add(ids[reference])
        named = [
            {ids[one.person.customer.reference] for one in accepted if one.message == at}
            for at in range(len(told))
        ]
        first_named = _first_named(named, new)
        mark_due(new.union(*changed), cause=cause)
    return [
        IngestReport(
            created=len(changed[at] | first_named[at]),
            repeated=len(named[at] - changed[at] - first_named[at]),
            erased=sum(_names(said) in erased for said in one.customers),
            customers_created=len(first_named[at]),
            customer_ids=frozenset(changed[at] | first_named[at]),
            rejected=tuple(rejected[at]),
        )
        for at, one in enumerate(told)
    ]


def _names(customer: NormalCustomer) -> tombstones.Who:
    return (customer.reference, customer.email.strip())


def _judge(
    told: Sequence[Profiles], erased: set[tombstones.Who]
) -> tuple[list[_Accepted], list[list[Rejection]]]:
    """Who is to be stored, and what is rejected of each message, by its position there."""
    definitions = _definitions([said for one in told for said in one.customers if _names(said) not in erased])
    accepted: list[_Accepted] = []
    rejected: list[list[Rejection]] = [[] for _one in told]
    for message, one in enumerate(told):
        for index, said in enumerate(one.customers):
            if _names(said) in erased:
                continue
            try:
                if problem := customer_problem(said):
                    raise ValueError(problem)
                values = attributes.fit(said.attributes, definitions)
                accepted.append(_Accepted(message, Person(said, values, one.received_at)))
            except ValueError as error:
                rejected[message].append(Rejection(index, str(error)))
    return accepted, rejected


def _first_named(named: Sequence[set[int]], new: set[int]) -> list[set[int]]:
    """Of each message those new customers whom no message before it had named."""
    left, found = set(new), []
    for theirs in named:
        found.append(theirs & left)
        left -= theirs
    return found


def _turns(accepted: Sequence[_Accepted]) -> Iterator[dict[str, _Accepted]]:
    """By reference, one after the other where somebody is told about twice, so that the later word counts."""
    waiting = list(accepted)
    while waiting:
        turn: dict[str, _Accepted] = {}
        waiting = [one for one in waiting if turn.setdefault(one.person.customer.reference, one) is not one]
        yield turn


def _definitions(customers: Sequence[NormalCustomer]) -> dict[str, AttributeDefinition]:
    """Definitions by slug; columns never seen before get the kind their values fit."""
    values: dict[str, list[object]] = {}
    for customer in customers:
        for name, value in customer.attributes.items():
            values.setdefault(attributes.slug_of(name), []).append(value)
    return {slug: attributes.define(slug, kind=attributes.infer_kind(seen)) for slug, seen in values.items()}


def record_people(people: Mapping[int, Person], *, source: EventSource) -> set[int]:
    """Store profiles by customer id; returns the customers with something new. Needs a transaction."""
    # What follows adds to what is known: without the lock, two workers would undo each other's additions.
    lock_customers(people)
    said = {key: person.customer for key, person in people.items()}
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
            fitted.valid_from or person.customer.updated_at or person.received_at,
            fitted.value,
        )
        for key, person in people.items()
        for fitted in person.values
    )
    attributes.add_choices(fitted for person in people.values() for fitted in person.values)
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
