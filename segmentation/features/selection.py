"""Which customers a read is about, and who was merged into them."""

# Names in these statements come from our own models; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Max, Min

from segmentation import columns
from segmentation.batches import batches
from segmentation.id_sets import Density, density, holes
from segmentation.ml import splits
from segmentation.models import Customer

# Customers a statement: what the server gathers before it sends anything stays small.
PART = 2000
MOST_PARTS = 100
RANGE_FROM = 100


@dataclass(frozen=True)
class IdRange:
    """Customers whose ids run from `first` to `last`, both included."""

    first: int
    last: int


Customers = IdRange | Sequence[int]


@dataclass(frozen=True)
class Selection:
    """What to read for some survivors: their own ids, and those of the customers merged into them.

    absorbed: merged customer → survivor. hidden: among `customers`, but merged into somebody else or not asked for.
    """

    customers: Customers
    absorbed: dict[int, int]
    hidden: frozenset[int]

    def parts(self) -> Iterator[Customers]:
        """Every id to read (and the hidden ones of a range), a statement's worth at a time: survivors by id, others last."""
        if isinstance(self.customers, IdRange):
            first, last = self.customers.first, self.customers.last
            step = max(PART, (last - first) // MOST_PARTS)
            for start in range(first, last + 1, step):
                yield IdRange(start, min(start + step - 1, last))
        else:
            yield from batches(sorted(self.customers), PART)
        held = self.customers if isinstance(self.customers, IdRange) else frozenset(self.customers)
        yield from batches(sorted(key for key in self.absorbed if not _holds(held, key)), PART)


def select(customers: Customers) -> Selection:
    """Look up the merges of these customers. Merges are one step deep (segmentation/identities.py)."""
    asked = customers if isinstance(customers, IdRange) else frozenset(customers)
    reading = customers if isinstance(customers, IdRange) else _as_range(customers)
    into, into_values = within("merged_into_id", reading)
    own, own_values = within("id", reading)
    table = connection.ops.quote_name(Customer._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, merged_into_id FROM {table} WHERE {into}"
            f" UNION SELECT id, merged_into_id FROM {table} WHERE {own} AND merged_into_id IS NOT NULL",
            [*into_values, *own_values],
        )
        merged = dict(cursor.fetchall())
    absorbed = {other: survivor for other, survivor in merged.items() if _holds(asked, survivor)}
    hidden = {other for other in merged if _holds(asked, other)}
    if isinstance(reading, IdRange) and not isinstance(asked, IdRange):
        hidden.update(key for key in range(reading.first, reading.last + 1) if key not in asked)
    return Selection(reading, absorbed, frozenset(hidden - absorbed.keys()))


def within(column: str, customers: Customers) -> tuple[str, list[Any]]:
    """SQL condition and parameters for "the column is one of these", for any number of ids."""
    if isinstance(customers, IdRange):
        return f"{column} BETWEEN %s AND %s", [customers.first, customers.last]
    ids = [int(key) for key in customers]
    if not ids or density(ids) < Density.DENSE:
        return _listed(column, ids)
    rest, values = _listed(column, holes(ids))
    return f"({column} BETWEEN %s AND %s AND NOT {rest})", [min(ids), max(ids), *values]


def _listed(column: str, ids: list[int]) -> tuple[str, list[Any]]:
    if connection.vendor == "postgresql":
        return f"{column} = ANY(%s)", [ids]
    return f"{column} IN (SELECT value FROM json_each(%s))", [json.dumps(ids)]


def customer_chunks(size: int) -> Iterator[IdRange]:
    """Ranges that together hold every survivor, at most `size` in each, by id."""
    last = 0
    while True:
        survivors = Customer.objects.filter(merged_into__isnull=True, pk__gt=last).order_by("pk")
        found = survivors.values("pk")[:size].aggregate(first=Min("pk"), last=Max("pk"))
        if found["last"] is None:
            return
        last = found["last"]
        yield IdRange(found["first"], last)


def sampled_chunks(size: int, *, most: int, salt: int) -> Iterator[Customers]:
    """As `customer_chunks`; of a shop with more than `most` survivors about that many, always the same for a salt.

    A customer is in by a hash of the id, so newcomers push nobody out whole and no order of ids shows in the sample.
    """
    table = connection.ops.quote_name(Customer._meta.db_table)
    source = f"FROM {table} WHERE merged_into_id IS NULL ORDER BY id"
    ids = columns.read([columns.Field("id", "int8")], source, [])["id"].to_numpy()
    if len(ids) <= most:
        yield from customer_chunks(size)
    else:
        kept = ids[splits.stable_share(ids, salt=salt) < most / len(ids)]
        yield from batches(kept.tolist(), size)


def _as_range(ids: Sequence[int]) -> Customers:
    """Ids that lie close together as the range they span: an index gives a range in its order, a list it does not."""
    if len(ids) < RANGE_FROM:
        return ids
    span = IdRange(min(ids), max(ids))
    return span if span.last - span.first < 2 * len(ids) else ids


def _holds(asked: IdRange | frozenset[int], key: int) -> bool:
    if isinstance(asked, IdRange):
        return asked.first <= key <= asked.last
    return key in asked
