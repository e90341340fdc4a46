"""What is left of a person outside their own rows: words in other rows are taken out, ids stay."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from segmentation import audit_guard, crypto
from segmentation.batches import batches
from segmentation.locks import lock_customers
from segmentation.models import (
    Alert,
    AttributeDefinition,
    AttributeValue,
    AuditEntry,
    Customer,
    ImportRun,
    PrivacyRequest,
)
from segmentation.privacy.marks import Marks
from segmentation.privacy.subjects import Subject

# An import's error may quote a line; a CRM tells by an alert whom it has deleted.
TEXTS: tuple[tuple[QuerySet[Any], str], ...] = (
    (ImportRun.objects.all(), "error"),
    (PrivacyRequest.objects.all(), "reason"),
    (Alert.objects.all(), "message"),
)


def drop_choices(subject: Subject) -> None:
    """A choice that only the erased person had is no choice any more; it comes back with the next who has it."""
    for definition_id, text in subject.choices:
        if AttributeValue.objects.filter(definition=definition_id, text=text).exists():
            continue
        with transaction.atomic():
            row = AttributeDefinition.objects.select_for_update().filter(pk=definition_id).first()
            if row is not None:
                row.choices = [choice for choice in row.choices if choice != text]
                row.save(update_fields=["choices"])


def scrub(subject: Subject) -> None:
    """Take the person's words out of audit details, texts that people wrote or read, and holdout keys of others."""
    marks = Marks(subject)
    _scrub_audit(subject)
    _scrub_holdout_keys(subject)
    for rows, field in TEXTS:
        for key, text in rows.exclude(**{field: ""}).values_list("pk", field):
            if marks.in_text(text):
                rows.filter(pk=key).update(**{field: marks.scrubbed(text)})


def _scrub_audit(subject: Subject) -> None:
    """Entries are append-only for everybody else; here their words go and their numbers stay."""
    kind, keys = Customer._meta.label_lower, [str(key) for key in subject.customers]
    entries = AuditEntry.objects.filter(object_type=kind, object_id__in=keys)
    with audit_guard.opened(kind, keys):
        for entry in entries.exclude(detail={}):
            AuditEntry.objects.filter(pk=entry.pk).update(detail=numbers_of(entry.detail))


def numbers_of(detail: dict[str, Any]) -> dict[str, Any]:
    """The ids and counts of an entry: everything that is a number, or a list of numbers."""
    return {name: value for name, value in detail.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, list) and all(map(_is_number, value)))


def _scrub_holdout_keys(subject: Subject) -> None:
    """Somebody who was once merged with the person may still draw under their reference: under a pseudonym of it now."""
    keys = {value[:64] for _namespace, value in subject.ids}
    drawing = list(Customer.objects.filter(holdout_key__in=keys).values_list("pk", flat=True))
    for part in batches(drawing):
        with transaction.atomic():
            lock_customers(part)
            for customer in Customer.objects.filter(pk__in=part, holdout_key__in=keys):
                customer.holdout_key = crypto.pseudonym("holdout", customer.holdout_key)
                customer.save(update_fields=["holdout_key"])
