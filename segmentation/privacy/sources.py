"""Who is known by one source alone, and who by others too: a shop that goes takes only its own people along."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from segmentation import identities
from segmentation.batches import batches
from segmentation.models import Customer, CustomerIdentity, Event, EventSource

AT_ONCE = 100
EVENTS_AT_ONCE = 2000
OTHER_ID: Promise = _("known by an id of another source")
OTHER_EVENTS: Promise = _("has events of another source")
MERGED: Promise = _("merged with somebody who is known from elsewhere; split them to erase this one")


@dataclass(frozen=True)
class Judged:
    """alone: ids of all customers who stand for people of this source alone. kept: reason by survivor's id."""

    alone: list[int]
    kept: dict[int, Promise]


def people(namespace: str, slug: str) -> Iterator[Judged]:
    """Everybody whom a source knows by an id of its `namespace` or by events under its `slug`, some at a time.

    Whoever is erased between two steps does not come again; whoever stays may.
    """
    source = EventSource.objects.filter(slug=slug).first()
    for keys in _with_ids(namespace):
        yield _judged(keys, namespace, source, by_id=True)
    for keys in _with_events(source, namespace) if source is not None else ():
        yield _judged(keys, namespace, source, by_id=False)


def count_ids(namespace: str) -> int:
    return CustomerIdentity.objects.filter(namespace=namespace).count()


def _with_ids(namespace: str) -> Iterator[Collection[int]]:
    rows = CustomerIdentity.objects.filter(namespace=namespace).order_by("value")
    last = ""
    while found := list(rows.filter(value__gt=last).values_list("value", "customer_id")[:AT_ONCE]):
        last = found[-1][0]
        yield {customer for _value, customer in found}


def _with_events(source: EventSource, namespace: str) -> Iterator[Collection[int]]:
    """Without those who have an id. In the order of the index; several facts may share the last key of a step."""
    rows = Event.objects.filter(source=source).order_by("source_key")
    last = ""
    while found := list(
        rows.filter(source_key__gt=last).values_list("source_key", "customer_id")[:EVENTS_AT_ONCE]
    ):
        last = found[-1][0]
        keys = {customer for _key, customer in found}
        keys |= set(rows.filter(source_key=last).values_list("customer_id", flat=True))
        known = CustomerIdentity.objects.filter(namespace=namespace, customer__in=keys)
        yield from batches(sorted(keys.difference(known.values_list("customer_id", flat=True))), AT_ONCE)


def _judged(keys: Collection[int], namespace: str, source: EventSource | None, *, by_id: bool) -> Judged:
    """by_id: whether people with an id of the namespace are wanted, or those without one."""
    survivors = set(identities.survivor_ids(keys).values())
    rows = Customer.objects.filter(Q(pk__in=survivors) | Q(merged_into__in=survivors))
    told = list(rows.order_by("pk").values_list("pk", "merged_into", "reference"))
    members = [key for key, _into, _reference in told]
    ids = CustomerIdentity.objects.filter(customer__in=members)
    ours = set(ids.filter(namespace=namespace).values_list("customer_id", flat=True))
    elsewhere = _elsewhere(told, ids.exclude(namespace__in=[namespace, identities.GUEST]), namespace, source)
    clusters: dict[int, list[int]] = defaultdict(list)
    for key, into, _reference in told:
        clusters[into or key].append(key)
    judged = Judged([], {})
    for survivor, people_of in clusters.items():
        if ours.isdisjoint(people_of) is by_id:
            continue
        reasons = [elsewhere[key] for key in people_of if key in elsewhere]
        if reasons:
            judged.kept[survivor] = MERGED if len(people_of) > 1 else reasons[0]
        else:
            judged.alone.extend(people_of)
    return judged


def _elsewhere(told: list[Any], ids: Any, namespace: str, source: EventSource | None) -> dict[int, Promise]:
    """What else each of these customers is known by."""
    own = (f"{namespace}:", f"{identities.GUEST}:")
    members = [key for key, _into, _reference in told]
    events = Event.objects.filter(customer__in=members).exclude(source=source)
    found: dict[int, Promise] = dict.fromkeys(
        events.order_by().values_list("customer_id", flat=True).distinct(), OTHER_EVENTS
    )
    found |= dict.fromkeys(ids.values_list("customer_id", flat=True), OTHER_ID)
    return found | {key: OTHER_ID for key, _into, reference in told if not reference.startswith(own)}
