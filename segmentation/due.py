"""Customers to rescore: one waiting row a customer, however much happens meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Case, F, IntegerField, Q, Value, When
from django.db.models.functions import Now

from segmentation import leases
from segmentation.batches import batches
from segmentation.jobs import Job, enqueue_due
from segmentation.locks import lock_customers
from segmentation.models import Customer, DueCustomer, LeaseState

_OVER = Q(state__in=leases.OVER)


def mark_due(customer_ids: Iterable[int], *, cause: str) -> set[int]:
    """Say that scoring would see something new for these customers; returns who was marked (survivors).

    Grows `input_version` of the customers and of whom they were merged into, queues a DueCustomer row each
    and nudges the workers after commit. A row that is being worked on keeps running: its worker sees by
    `generation` that it has to look again.
    """
    # What goes wrong here ends the caller's transaction, where there is one: the facts go with the mark.
    with transaction.atomic(savepoint=False):
        marked = grow_versions(customer_ids)
        for part in batches(sorted(marked)):
            _queue(part, cause)
        if marked:
            enqueue_due(Job.RESCORE_DUE)
    return marked


def grow_versions(customer_ids: Iterable[int]) -> set[int]:
    """Grow `input_version` without queueing anything; returns the survivors. Needs a transaction."""
    stands_for: dict[int, int] = {}
    for part in batches(sorted(set(customer_ids))):
        chain = Customer.objects.filter(pk__in=part).values_list("pk", "merged_into")
        stands_for |= {key: survivor or key for key, survivor in chain}
    touched = sorted({*stands_for, *stands_for.values()})
    # All of them in one order, before any is changed: parts that each lock in order would still lock up with others.
    held = lock_customers(touched)
    for part in batches(touched):
        Customer.objects.filter(pk__in=part).update(input_version=F("input_version") + 1)
    # Who was erased meanwhile is gone.
    return set(stands_for.values()) & held


def _queue(customer_ids: Iterable[int], cause: str) -> None:
    ids = list(customer_ids)
    # New rows first, then grow all: a worker that claims between the two cannot miss this change.
    DueCustomer.objects.bulk_create(
        [DueCustomer(customer_id=key, generation=0, cause=cause[:64]) for key in ids], ignore_conflicts=True
    )
    DueCustomer.objects.filter(customer__in=ids).update(
        generation=F("generation") + 1,
        cause=cause[:64],
        attempts=Case(When(_OVER, then=Value(0)), default=F("attempts"), output_field=IntegerField()),
        run_after=Case(When(_OVER, then=Now()), default=F("run_after")),
        finished_at=Case(When(_OVER, then=None), default=F("finished_at")),
        state=Case(When(_OVER, then=Value(LeaseState.QUEUED)), default=F("state")),
    )
