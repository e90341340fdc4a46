"""Contact data: sealed under a key of the customer's own, found by the blind index of the e-mail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from operator import itemgetter
from typing import NamedTuple

import orjson
import polars as pl
from cryptography.fernet import Fernet
from django.utils import timezone

from segmentation import bulk, crypto
from segmentation.models import ContactData, Customer


class _Sealed(NamedTuple):
    """A row of ContactData."""

    customer_id: int
    data_key: bytes
    sealed: bytes
    email_index: str
    updated_at: datetime


_SEALED = {
    "customer_id": pl.Int64(), "data_key": pl.Binary(), "sealed": pl.Binary(), "email_index": pl.String(),
    "updated_at": pl.Datetime("us", "UTC"),
}  # fmt: skip


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
    said = {key: contact for key, contact in sorted(contacts.items()) if contact != Contact()}
    known = {
        row[0]: _Sealed(*row)
        for row in bulk.values_in(ContactData.objects.all(), list(said), *_SEALED, by="customer_id")
    }
    new = [_sealed_new(key, contact) for key, contact in said.items() if key not in known]
    resealed = [_resealed(known[key], contact) for key, contact in said.items() if key in known]
    changed = [row for row in resealed if row is not None]
    _write(new, bulk.insert)
    _write(changed, _update)
    return {row.customer_id for row in (*new, *changed)}


def write_missing_emails(emails: Mapping[int, str]) -> None:
    """Remember an e-mail for customers of whom none is known."""
    with_email = ContactData.objects.exclude(email_index="")
    known = {key for (key,) in bulk.values_in(with_email, sorted(emails), "pk", by="customer_id")}
    write_many({key: Contact(email=email.strip()) for key, email in emails.items() if key not in known})


def data_keys(customer_ids: Iterable[int]) -> dict[int, bytes]:
    """Each customer's wrapped data key (segmentation.crypto.seal), made when there is none yet."""
    wanted = sorted(set(customer_ids))
    keys = _known_keys(wanted)
    missing = [key for key in wanted if key not in keys]
    if missing:
        now = timezone.now()
        _write([_Sealed(key, crypto.new_data_key(), b"", "", now) for key in missing], _insert_missing)
        keys |= _known_keys(missing)
    return keys


def _known_keys(customer_ids: list[int]) -> dict[int, bytes]:
    rows = bulk.values_in(ContactData.objects.all(), customer_ids, "customer_id", "data_key")
    return {customer_id: bytes(key) for customer_id, key in rows}


def find_by_email(email: str) -> Customer | None:
    """The customer with this e-mail (the survivor where customers were merged), or None."""
    found = find_many_by_email([email])
    return Customer.objects.filter(pk=found[email]).first() if email in found else None


def find_many_by_email(emails: Iterable[str]) -> dict[str, int]:
    """Customer ids by e-mail as given; of several customers with one e-mail the first known counts."""
    index = {email: email_index(email) for email in emails if email.strip()}
    columns = ("pk", "email_index", "customer__merged_into")
    rows = bulk.values_in(ContactData.objects.all(), sorted(set(index.values())), *columns, by="email_index")
    by_index = {
        key: survivor or customer_id
        for customer_id, key, survivor in sorted(rows, key=itemgetter(0), reverse=True)
    }
    return {email: by_index[key] for email, key in index.items() if key in by_index}


def _id(customer: Customer | int) -> int:
    return customer if isinstance(customer, int) else customer.pk


def _open(row: _Sealed | ContactData) -> Contact:
    if not bytes(row.sealed):
        return Contact()
    values = orjson.loads(crypto.unseal(bytes(row.data_key), bytes(row.sealed)))
    birthday = values.pop("birthday", None)
    return Contact(birthday=date.fromisoformat(birthday) if birthday else None, **values)


def _sealed_new(customer_id: int, contact: Contact) -> _Sealed:
    key = Fernet.generate_key()  # used before it is wrapped: saves unwrapping it for every new customer
    return _Sealed(
        customer_id,
        crypto.encrypt(key),
        Fernet(key).encrypt(orjson.dumps(contact)),
        email_index(contact.email),
        timezone.now(),
    )


def _resealed(row: _Sealed, contact: Contact) -> _Sealed | None:
    """The row with what `contact` adds, or None when it says nothing new."""
    before = _open(row)
    after = before.updated(contact)
    if after == before:
        return None
    sealed = crypto.seal(bytes(row.data_key), orjson.dumps(after))
    return _Sealed(row.customer_id, bytes(row.data_key), sealed, email_index(after.email), timezone.now())


def _write(rows: Sequence[_Sealed], how: Callable[..., int]) -> None:
    how(ContactData, _SEALED, pl.DataFrame(rows, schema=_SEALED, orient="row"))


def _update(model: type[ContactData], columns: Sequence[str], rows: pl.DataFrame) -> int:
    """The key stays as it is stored: `rotate_keys` may have wrapped it anew since it was read."""
    rows = rows.drop("data_key")
    return bulk.update(model, rows.columns, rows, keys=("customer_id",))


def _insert_missing(model: type[ContactData], columns: Sequence[str], rows: pl.DataFrame) -> int:
    return bulk.insert(model, columns, rows, on_conflict="ignore")
