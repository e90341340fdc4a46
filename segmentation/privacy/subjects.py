"""Whom a privacy request is about: every id, every address and every row of one person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from segmentation import contacts, crypto, identities
from segmentation.models import AttributeDefinition, AttributeValue, ContactData, Customer, CustomerIdentity


@dataclass(frozen=True)
class Asked:
    """How a door names the person; any part may be missing, not all.

    With `source` (an event source's short name) it is everybody who is known by that and by `namespace` alone.
    """

    namespace: str = ""
    identity: str = ""
    email: str = ""
    customer_id: int | None = None
    source: str = ""

    @property
    def key(self) -> str:
        """Keyed pseudonym of what was said."""
        said = f"{self.namespace}:{self.identity}|{contacts.email_index(self.email)}|{self.customer_id}"
        return crypto.pseudonym("privacy", f"{said}|{self.source}" if self.source else said)


@dataclass(frozen=True)
class Subject:
    """A person with everything that names them. ids: (namespace, value), the shop's own references included.

    choices: (definition, value) of their columns that have choices, where a value may be nobody else's.
    """

    customers: tuple[int, ...] = ()
    ids: tuple[tuple[str, str], ...] = ()
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    choices: tuple[tuple[int, str], ...] = ()

    def joined(self, other: Subject) -> Subject:
        return Subject(
            customers=tuple(sorted({*self.customers, *other.customers})),
            ids=tuple(sorted({*self.ids, *other.ids})),
            emails=tuple(sorted({*self.emails, *other.emails})),
            phones=tuple(sorted({*self.phones, *other.phones})),
            names=tuple(sorted({*self.names, *other.names})),
            choices=tuple(sorted({*self.choices, *other.choices})),
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Subject:
        return cls(
            customers=tuple(content.get("customers", ())),
            ids=tuple((namespace, value) for namespace, value in content.get("ids", ())),
            emails=tuple(content.get("emails", ())),
            phones=tuple(content.get("phones", ())),
            names=tuple(content.get("names", ())),
            choices=tuple((definition, text) for definition, text in content.get("choices", ())),
        )


def people_of(asked: Asked) -> list[int]:
    """Ids of all customers that stand for the person, survivors first: merged ones too, and whoever has the e-mail."""
    found: set[int] = set()
    if asked.customer_id is not None:
        found.add(asked.customer_id)
    if asked.identity:
        found |= set(identities.find_many(asked.namespace or identities.SHOP, [asked.identity]).values())
    if asked.email.strip():
        index = contacts.email_index(asked.email)
        found |= set(ContactData.objects.filter(email_index=index).values_list("pk", flat=True))
    return cluster(found)


def cluster(customer_ids: Iterable[int]) -> list[int]:
    """These customers, whom they were merged into, and everybody merged into those; survivors first."""
    survivors = sorted(set(identities.survivor_ids(customer_ids).values()))
    merged = Customer.objects.filter(merged_into__in=survivors).order_by("pk").values_list("pk", flat=True)
    return [*survivors, *merged]


def gather(asked: Asked) -> Subject:
    """Everything that names the person now. What the door said counts too, whether it is known here or not."""
    said = Subject(
        ids=((asked.namespace or identities.SHOP, asked.identity),) if asked.identity else (),
        emails=(asked.email.strip(),) if asked.email.strip() else (),
    )
    return said.joined(of_customers(people_of(asked)))


def of_customers(customer_ids: Iterable[int]) -> Subject:
    keys = sorted(set(customer_ids))
    references = Customer.objects.filter(pk__in=keys).values_list("reference", flat=True)
    known = CustomerIdentity.objects.filter(customer__in=keys).values_list("namespace", "value")
    given = AttributeValue.objects.filter(customer__in=keys, definition__kind=AttributeDefinition.Kind.CHOICE)
    chosen = {(definition, text) for definition, text in given.values_list("definition", "text") if text}
    told = [contact for key in keys if (contact := _contact(key)) is not None]
    return Subject(
        customers=tuple(keys),
        ids=tuple(sorted({*((identities.SHOP, name) for name in references), *known})),
        emails=tuple(sorted({contact.email for contact in told if contact.email})),
        phones=tuple(sorted({contact.phone for contact in told if contact.phone})),
        names=tuple(sorted({c.name for c in told if c.first_name and c.last_name})),
        choices=tuple(sorted(chosen)),
    )


def others_with_the_email(customer: Customer) -> int:
    """How many customers who are not this person have an e-mail of theirs."""
    people = cluster([customer.pk])
    indexes = ContactData.objects.filter(customer__in=people).exclude(email_index="")
    same = Q(email_index__in=indexes.values_list("email_index", flat=True))
    return ContactData.objects.filter(same).exclude(customer__in=people).count()


def _contact(customer_id: int) -> contacts.Contact | None:
    try:
        return contacts.read(customer_id)
    except crypto.DecryptionError:
        return None  # sealed under a key that is gone: nobody can read it any more
