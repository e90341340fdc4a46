"""Who is who: ids at sources, merged customers, and undoing a merge."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import polars as pl
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from segmentation import bulk, consents, contacts, memberships
from segmentation.batches import batches
from segmentation.due import mark_due
from segmentation.locks import lock_customers
from segmentation.models import (
    AuditEntry,
    ContactData,
    Customer,
    CustomerIdentity,
    DueCustomer,
    MembershipCause,
    ServicePriority,
    Shop,
)
from segmentation.normal import MAX_REFERENCE

SHOP = "shop"  # the namespace of the ids that the shop itself uses: there the id is Customer.reference
GUEST = "guest"
_GIVEN = ("id", "reference", "created_at")  # by the database and the caller; everything else has a default
_KEPT = ("country", "channel", "time_zone", "signed_up_at", "holdout_key")


class MergeError(ValueError):
    """These customers cannot be merged or split; the message says why."""


def resolve(namespace: str, value: str) -> Customer | None:
    """The customer a source knows under `value` (the survivor where customers were merged), or None."""
    found = find_many(namespace, [value])
    return survivor_of(Customer.objects.get(pk=found[value])) if found else None


def find_many(namespace: str, values: Iterable[str]) -> dict[str, int]:
    """Ids of the customers themselves (not of survivors: events keep their own customer) by value."""
    wanted = sorted(set(values))
    found = dict(bulk.values_in(_named(namespace), wanted, "value", "customer_id", by="value"))
    if namespace == SHOP:
        found |= _ids_by_reference(value for value in wanted if value not in found)
    return found


@lru_cache(maxsize=64)
def _named(namespace: str) -> QuerySet[CustomerIdentity]:
    """Kept, so that its statement is worked out once (segmentation/lookups.py)."""
    return CustomerIdentity.objects.filter(namespace=namespace).order_by()


def find_or_create_many(
    namespace: str, values: Iterable[str], **defaults: Any
) -> tuple[dict[str, int], set[int]]:
    """Ids by value, and which of them are new. `defaults` are fields of new customers. Needs a transaction."""
    wanted = sorted(set(values))
    found = find_many(namespace, wanted)
    missing = [value for value in wanted if value not in found]
    if not missing:
        return found, set()
    references = {value: reference_for(namespace, value) for value in missing}
    before = set(_ids_by_reference(references.values()))
    _insert_customers([name for name in references.values() if name not in before], **defaults)
    ids = _ids_by_reference(references.values())
    bulk.insert(
        CustomerIdentity,
        ("customer", "namespace", "value"),
        [(ids[references[value]], namespace, value) for value in missing],
        on_conflict="ignore",
    )
    # Another worker may have won the race for an identity: its row decides.
    found.update(find_many(namespace, missing))
    return found, {ids[name] for name in references.values() if name not in before}


def find_or_create_guests(emails: Iterable[str]) -> tuple[dict[str, int], set[int]]:
    """Customers by e-mail: a known one, else a new guest who may become known later. Needs a transaction."""
    wanted = sorted(set(emails))
    found = contacts.find_many_by_email(wanted)
    index = {email: contacts.email_index(email) for email in wanted if email not in found}
    ids, new = find_or_create_many(GUEST, {key[:32] for key in index.values()})
    contacts.write_missing_emails({ids[key[:32]]: email for email, key in index.items()})
    return found | {email: ids[key[:32]] for email, key in index.items()}, new


def adopt_guests(emails: Mapping[int, str]) -> set[int]:
    """Somebody who ordered as a guest is known now: merge guests into the customers with their e-mails.

    Returns the customers that took a guest in; does nothing when the shop does not join guests.
    """
    if not Shop.get().join_guests_by_email:
        return set()
    guests = ContactData.objects.filter(
        customer__reference__startswith=f"{GUEST}:", customer__merged_into=None
    )
    if not guests.exists():
        return set()
    homes = {contacts.email_index(email): customer_id for customer_id, email in emails.items()}
    pairs = {
        guest: homes[index]
        for guest, index in bulk.values_in(guests, sorted(homes), "pk", "email_index", by="email_index")
        if guest != homes[index]
    }
    lock_customers({*pairs, *pairs.values()})
    adopted: set[int] = set()
    for guest, home in sorted(pairs.items()):
        rows = Customer.objects.in_bulk([guest, home])
        if rows[home].merged_into_id is None and rows[guest].merged_into_id is None:
            merge(rows[home], rows[guest])
            adopted.add(home)
    return adopted


def reference_for(namespace: str, value: str) -> str:
    """The reference of a customer first met under this id."""
    reference = value if namespace == SHOP else f"{namespace}:{value}"
    if len(reference) <= MAX_REFERENCE:
        return reference
    return f"{reference[: MAX_REFERENCE - 17]}~{hashlib.sha256(reference.encode()).hexdigest()[:16]}"


def survivor_of(customer: Customer) -> Customer:
    return customer.merged_into or customer


def survivor_ids(customer_ids: Iterable[int]) -> dict[int, int]:
    """Customer id → the id that stands for it (itself unless merged)."""
    survivors: dict[int, int] = {}
    for part in batches(sorted(set(customer_ids))):
        for customer_id, survivor in Customer.objects.filter(pk__in=part).values_list("pk", "merged_into"):
            survivors[customer_id] = survivor or customer_id
    return survivors


def merge(survivor: Customer, other: Customer, *, actor: Any = None) -> None:
    """`other` becomes a part of `survivor`. No event moves; `split` undoes it exactly.

    The survivor keeps its own values and takes what it lacks, the older holdout draw, and the strictest
    consent (read across both). Whoever was merged into `other` before follows it, so that one step leads
    from any customer to the survivor. Raises MergeError.
    """
    with transaction.atomic():
        survivor, other = _lock_pair(survivor, other)
        before = _values(survivor)
        _take_over(survivor, other)
        followers = sorted(other.merged_from.values_list("pk", flat=True))
        Customer.objects.filter(pk__in=[other.pk, *followers]).update(merged_into=survivor)
        DueCustomer.objects.filter(customer__in=[other.pk, *followers]).delete()
        memberships.leave_all([other.pk, *followers], cause=MembershipCause.EVENT)
        # Nobody works on who is no longer served apart; a split decides them anew.
        ServicePriority.objects.filter(customer__in=[other.pk, *followers]).delete()
        consents.refresh_profiled([survivor.pk])
        AuditEntry.record(
            "customer.merged",
            other,
            actor=actor,
            survivor=survivor.pk,
            followers=followers,
            before=before,
            after=_values(survivor),
        )
        mark_due([survivor.pk], cause="merge")


def split(other: Customer, *, actor: Any = None) -> None:
    """Undo the merge of `other`: it and whoever came with it stand apart again. Raises MergeError."""
    with transaction.atomic():
        other = Customer.objects.select_for_update().get(pk=other.pk)
        entry = merge_entry(other)
        if other.merged_into_id is None or entry is None:
            raise MergeError(
                _("Customer %(customer)s is not merged into another.") % {"customer": other.reference}
            )
        survivor = Customer.objects.select_for_update().get(pk=other.merged_into_id)
        Customer.objects.filter(pk__in=entry.detail["followers"], merged_into=survivor).update(
            merged_into=other
        )
        Customer.objects.filter(pk=other.pk).update(merged_into=None)
        if survivor.pk == entry.detail["survivor"]:
            _give_back(survivor, entry.detail)
        consents.refresh_profiled([survivor.pk, other.pk])
        AuditEntry.record("customer.split", other, actor=actor, survivor=survivor.pk)
        mark_due([survivor.pk, other.pk], cause="split")


def _lock_pair(survivor: Customer, other: Customer) -> tuple[Customer, Customer]:
    locked = {
        row.pk: row
        for row in Customer.objects.select_for_update().filter(pk__in=[survivor.pk, other.pk]).order_by("pk")
    }
    if not {survivor.pk, other.pk} <= locked.keys():
        raise MergeError(_("One of the customers is no longer there."))
    pair = locked[survivor.pk], locked[other.pk]
    check_pair(*pair)
    return pair


def check_pair(survivor: Customer, other: Customer) -> None:
    """Raises MergeError where these cannot become one."""
    if survivor.pk == other.pk:
        raise MergeError(_("A customer cannot be merged into itself."))
    for row in (survivor, other):
        if row.merged_into_id is not None:
            raise MergeError(
                _("Customer %(customer)s is already merged into another.") % {"customer": row.reference}
            )


def _take_over(survivor: Customer, other: Customer) -> None:
    for name, value in merged_values(survivor, other).items():
        setattr(survivor, name, value)
    survivor.save(update_fields=list(_KEPT))


def merged_values(survivor: Customer, other: Customer) -> dict[str, Any]:
    """What a merge fills in: what the survivor lacks; the older of the two keeps its place in the holdout draws."""
    filled: dict[str, Any] = {
        name: getattr(survivor, name) or getattr(other, name) for name in ("country", "channel", "time_zone")
    }
    known = [at for at in (survivor.signed_up_at, other.signed_up_at) if at]
    older = min(survivor, other, key=lambda row: (row.created_at, row.pk))
    return filled | {
        "signed_up_at": min(known) if known else None,
        "holdout_key": older.holdout_key or (older.reference if older.pk != survivor.pk else ""),
    }


def _give_back(survivor: Customer, detail: dict[str, Any]) -> None:
    values = restored_values(survivor, detail)
    for name, value in values.items():
        setattr(survivor, name, value)
    survivor.save(update_fields=list(values))


def restored_values(survivor: Customer, detail: dict[str, Any]) -> dict[str, Any]:
    """What a split gives back: what the merge (its audit `detail`) filled in, unless it was changed since."""
    now = _values(survivor)
    changed = [name for name in _KEPT if now[name] == detail["after"][name] != detail["before"][name]]
    before = {name: detail["before"][name] for name in changed}
    if before.get("signed_up_at") is not None:
        before["signed_up_at"] = datetime.fromisoformat(before["signed_up_at"])
    return before


def _values(customer: Customer) -> dict[str, Any]:
    signed_up = customer.signed_up_at.isoformat() if customer.signed_up_at else None
    return {name: getattr(customer, name) for name in _KEPT} | {"signed_up_at": signed_up}


def merge_entry(other: Customer) -> AuditEntry | None:
    """The merge of a customer that still holds, or None: the newest one of this customer with no split after it."""
    entries = AuditEntry.objects.filter(object_type=other._meta.label_lower, object_id=str(other.pk))
    newest = entries.filter(action__in=["customer.merged", "customer.split"]).order_by("-pk").first()
    return newest if newest is not None and newest.action == "customer.merged" else None


def _insert_customers(references: Sequence[str], **fields: Any) -> None:
    """New rows with every field's default; a reference that somebody else just took stays as it is."""
    row = Customer(is_profiled=consents.profiled_by_default(), **fields)
    plain = [field.attname for field in Customer._meta.concrete_fields if field.name not in _GIVEN]
    said = {name: value for name in plain if (value := getattr(row, name)) is not None}
    rows = pl.DataFrame({"reference": references}, schema={"reference": pl.String}).with_columns(
        **{name: pl.lit(value) for name, value in said.items()}
    )
    bulk.insert(Customer, rows.columns, rows, on_conflict="ignore")


def _ids_by_reference(references: Iterable[str]) -> dict[str, int]:
    wanted = sorted(set(references))
    return dict(bulk.values_in(Customer.objects.all(), wanted, "reference", "pk", by="reference"))
