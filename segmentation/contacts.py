"""Contact data: sealed under a key of the customer's own, found by the blind index of the e-mail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date

import orjson
from cryptography.fernet import Fernet
from django.utils import timezone

from segmentation import bulk, crypto
from segmentation.batches import batches
from segmentation.models import ContactData, Customer


@dataclass(frozen=True)
class Contact:
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    phone: str = ""
    language: str = ""
    birthday: date | None = None

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    def updated(self, newer: Contact) -> Contact:
        """`newer` where it says something, this elsewhere."""
        said = {field.name: value for field in fields(newer) if (value := getattr(newer, field.name))}
        return replace(self, **said)


def email_index(email: str) -> str:
    """Blind index of a normalised e-mail; empty for an empty one."""
    return crypto.blind_index("email", email) if email.strip() else ""


def read(customer: Customer | int) -> Contact | None:
    """The customer's contact data in clear, or None when there is none. Raises crypto.DecryptionError."""
    row = ContactData.objects.filter(pk=_id(customer)).first()
    return _open(row) if row is not None and bytes(row.sealed) else None


def write(customer: Customer | int, contact: Contact) -> bool:
    """Add what `contact` says to what is known; returns whether anything changed."""
    return bool(write_many({_id(customer): contact}))


def write_many(contacts: Mapping[int, Contact]) -> set[int]:
    """Contacts by customer id; empty values change nothing. Returns the customers that changed."""
    said = {key: contact for key, contact in contacts.items() if contact != Contact()}
    new: list[ContactData] = []
    changed: list[ContactData] = []
    for part in batches(sorted(said)):
        known = ContactData.objects.in_bulk(part)
        for customer_id in part:
            row = known.get(customer_id)
            if row is None:
                new.append(_sealed_new(customer_id, said[customer_id]))
            elif _reseal(row, said[customer_id]):
                changed.append(row)
    now = timezone.now()
    columns = ("customer_id", "data_key", "sealed", "email_index", "updated_at")
    rows = [
        [(row.pk, row.data_key, row.sealed, row.email_index, now) for row in part] for part in (new, changed)
    ]
    bulk.insert(ContactData, columns, rows[0])
    bulk.update(ContactData, columns, rows[1], keys=("customer_id",))
    return {row.pk for row in (*new, *changed)}


def write_missing_emails(emails: Mapping[int, str]) -> None:
    """Remember an e-mail for customers of whom none is known."""
    for part in batches(sorted(emails)):
        known = set(
            ContactData.objects.filter(pk__in=part).exclude(email_index="").values_list("pk", flat=True)
        )
        write_many({key: Contact(email=emails[key].strip()) for key in part if key not in known})


def data_keys(customer_ids: Iterable[int]) -> dict[int, bytes]:
    """Each customer's wrapped data key (segmentation.crypto.seal), made when there is none yet."""
    keys: dict[int, bytes] = {}
    for part in batches(sorted(set(customer_ids))):
        found = dict(ContactData.objects.filter(pk__in=part).values_list("pk", "data_key"))
        missing = [customer_id for customer_id in part if customer_id not in found]
        ContactData.objects.bulk_create(
            [ContactData(customer_id=key, data_key=crypto.new_data_key(), sealed=b"") for key in missing],
            ignore_conflicts=True,
        )
        if missing:
            found.update(ContactData.objects.filter(pk__in=missing).values_list("pk", "data_key"))
        keys.update({customer_id: bytes(key) for customer_id, key in found.items()})
    return keys


def find_by_email(email: str) -> Customer | None:
    """The customer with this e-mail (the survivor where customers were merged), or None."""
    found = find_many_by_email([email])
    return Customer.objects.filter(pk=found[email]).first() if email in found else None


def find_many_by_email(emails: Iterable[str]) -> dict[str, int]:
    """Customer ids by e-mail as given; of several customers with one e-mail the first known counts."""
    index = {email: email_index(email) for email in emails if email.strip()}
    by_index: dict[str, int] = {}
    for part in batches(sorted(set(index.values()))):
        rows = ContactData.objects.filter(email_index__in=part).order_by("-pk")
        for key, customer_id, survivor in rows.values_list("email_index", "pk", "customer__merged_into"):
            by_index[key] = survivor or customer_id
    return {email: by_index[key] for email, key in index.items() if key in by_index}


def _id(customer: Customer | int) -> int:
    return customer if isinstance(customer, int) else customer.pk


def _open(row: ContactData) -> Contact:
    if not bytes(row.sealed):
        return Contact()
    values = orjson.loads(crypto.unseal(bytes(row.data_key), bytes(row.sealed)))
    birthday = values.pop("birthday", None)
    return Contact(birthday=date.fromisoformat(birthday) if birthday else None, **values)


def _sealed_new(customer_id: int, contact: Contact) -> ContactData:
    key = Fernet.generate_key()  # used before it is wrapped: saves unwrapping it for every new customer
    return ContactData(
        customer_id=customer_id,
        data_key=crypto.encrypt(key),
        sealed=Fernet(key).encrypt(orjson.dumps(contact)),
        email_index=email_index(contact.email),
    )


def _reseal(row: ContactData, contact: Contact) -> bool:
    before = _open(row)
    after = before.updated(contact)
    if after == before:
        return False
    row.sealed = crypto.seal(bytes(row.data_key), orjson.dumps(after))
    row.email_index = email_index(after.email)
    return True
