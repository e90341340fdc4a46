"""The rows of a person: first the key that opens their data, then everything else, in short transactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from django.db import models, transaction

from segmentation import bulk, crypto, memberships
from segmentation.locks import lock_customers
from segmentation.models import ContactData, Customer, Event, MembershipCause
from segmentation.privacy.places import OF_CUSTOMERS, OF_EVENTS
from segmentation.privacy.subjects import cluster

EVENTS_AT_ONCE = 2000
OnDeleted = Callable[[Mapping[str, int]], None]


class Grown(Exception):
    """Somebody was merged into the person meanwhile: gather anew."""


def destroy_keys(customer_ids: Sequence[int]) -> None:
    """Contact data and texts cannot be opened from here on, wherever a copy of their rows may be."""
    with transaction.atomic():
        for key in sorted(lock_customers(customer_ids)):
            ContactData.objects.filter(pk=key).update(
                data_key=crypto.new_data_key(), sealed=b"", email_index=""
            )


def delete(customer_ids: Sequence[int], *, on_deleted: OnDeleted) -> None:
    """Delete every row of these customers; `on_deleted` hears how many by model after each commit. Raises Grown.

    Events go in pieces. The rest goes with the customers themselves while they are locked: whoever writes results
    about them locks them too, and finds them gone.
    """
    while deleted := _some_events(customer_ids):
        on_deleted(deleted)
    counts: Counter[str] = Counter()
    with transaction.atomic():
        lock_customers(customer_ids)
        if set(cluster(customer_ids)) - set(customer_ids):
            raise Grown
        while deleted := _some_events(customer_ids):
            counts.update(deleted)
        counts.update(_results(customer_ids))
    on_deleted(counts)


def _some_events(customer_ids: Sequence[int]) -> Counter[str]:
    with transaction.atomic():
        own = Event.objects.filter(customer__in=customer_ids).order_by("pk").values_list("pk", flat=True)
        keys = [(key,) for key in own[:EVENTS_AT_ONCE]]
        counts = Counter({_name(model): bulk.delete(model, ("event_id",), keys) for model in OF_EVENTS})
        counts[_name(Event)] = bulk.delete(Event, ("id",), keys)
    return +counts


def _results(customer_ids: Sequence[int]) -> Counter[str]:
    """Everything but events, and the customers."""
    memberships.leave_all(customer_ids, cause=MembershipCause.EVENT)
    keys = [(key,) for key in customer_ids]
    counts = Counter({_name(model): bulk.delete(model, ("customer_id",), keys) for model in OF_CUSTOMERS})
    # At once: the database checks that nobody is merged into somebody who is gone when the transaction ends.
    counts[_name(Customer)] = bulk.delete(Customer, ("id",), keys)
    return +counts


def _name(model: type[models.Model]) -> str:
    return str(model._meta.model_name)
