"""What people say about how soon customers are served: by hand, in a review, and that something is done."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation.decisions import again
from segmentation.due import mark_due
from segmentation.locks import lock_customers
from segmentation.models import AuditEntry, Customer, PriorityOverride, PriorityReview, ServicePriority


class ServiceRefused(Exception):
    """It cannot be done so; the message says why and what to do."""


def override(
    customer: Customer, level: int, *, reason: str, until: datetime, by: Any, now: datetime | None = None
) -> PriorityOverride:
    """Serve a customer so until then, whatever rules say; promises still hold. Takes the place of an earlier word."""
    at = now or timezone.now()
    if not reason.strip():
        raise ServiceRefused(_("Give a reason: whoever serves the customer next will read it."))
    if until <= at:
        raise ServiceRefused(_("The end is in the past; choose a later one."))
    with transaction.atomic():
        lock_customers([customer.pk])
        PriorityOverride.objects.filter(customer=customer, ended_at__isnull=True).update(ended_at=at)
        made = PriorityOverride.objects.create(
            customer=customer, level=level, reason=reason.strip()[:200], until=until, created_by=by
        )
        AuditEntry.record("priority.override", customer, actor=by, level=int(level), until=until.isoformat())
        again.plan([(customer.pk, until)])
        mark_due([customer.pk], cause="override")
    return made


def override_of(customer: Customer, now: datetime) -> PriorityOverride | None:
    """What counts of people's words, as decisions see it: the customer's own, else that of somebody merged into them."""
    said = _said_of(customer).filter(until__gt=now)
    return max(said, key=lambda one: (one.customer_id == customer.pk, one.level), default=None)


def _said_of(customer: Customer) -> QuerySet[PriorityOverride]:
    whose = Q(customer=customer) | Q(customer__merged_into=customer)
    return PriorityOverride.objects.filter(whose, ended_at__isnull=True)


def end_override(customer: Customer, *, by: Any) -> bool:
    """The rules count again. False where nothing was set by hand."""
    with transaction.atomic():
        lock_customers([customer.pk])
        if not _said_of(customer).update(ended_at=timezone.now()):
            return False
        AuditEntry.record("priority.override_ended", customer, actor=by)
        mark_due([customer.pk], cause="override")
    return True


def end_overrides(now: datetime) -> int:
    """Close what has run out; returns how many. A sweep calls it."""
    return PriorityOverride.objects.filter(ended_at__isnull=True, until__lte=now).update(ended_at=now)


def review(
    row: PriorityReview, *, approve: bool, by: Any, until: datetime | None = None, now: datetime | None = None
) -> None:
    """A person says whether a prediction may serve this customer later; either answer can be changed."""
    at = now or timezone.now()
    if until is not None and until <= at:
        raise ServiceRefused(_("The end is in the past; choose a later one."))
    states = PriorityReview.State
    with transaction.atomic():
        # Before anything else, as decisions do.
        lock_customers([row.customer_id])
        PriorityReview.objects.filter(pk=row.pk).update(
            state=states.APPROVED if approve else states.REFUSED, decided_by=by, decided_at=at, until=until
        )
        AuditEntry.record(
            "priority.approved" if approve else "priority.refused", row, actor=by, customer=row.customer_id
        )
        if until is not None:
            again.plan([(row.customer_id, until)])
        mark_due([row.customer_id], cause="review")


def handled(row: ServicePriority, *, by: Any) -> bool:
    """The work is done: the row leaves the list until the customer's priority changes. False where it was already."""
    with transaction.atomic():
        rows = ServicePriority.objects.filter(pk=row.pk, handled_at__isnull=True)
        done = rows.update(handled_at=timezone.now(), handled_by=by)
        if done:
            AuditEntry.record("priority.handled", row, actor=by)
    return bool(done)
