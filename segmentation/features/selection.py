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

from segmentation.models import Customer


@dataclass(frozen=True)
class IdRange:
    """Customers whose ids run from `first` to `last`, both included."""

    first: int
    last: int


Customers = IdRange | Sequence[int]


@dataclass(frozen=True)
class Selection:
    """What to read for some survivors: their own ids, and those of the customers merged into them.

    absorbed: merged customer → survivor. hidden: asked for, but merged into somebody else.
    """

    customers: Customers
    absorbed: dict[int, int]
    hidden: frozenset[int]

    def where(self, column: str) -> tuple[str, list[Any]]:
        """SQL condition on `column` that holds for every id to read, and some hidden ones in a range."""
        condition, values = within(column, self.customers)
        extra = sorted(set(self.absorbed))
        if not extra:
            return condition, values
        also, more = within(column, extra)
        return f"({condition} OR {also})", [*values, *more]


def select(customers: Customers) -> Selection:
    """Look up the merges of these customers. Merges are one step deep (segmentation/identities.py)."""
    into, into_values = within("merged_into_id", customers)
    own, own_values = within("id", customers)
    table = connection.ops.quote_name(Customer._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, merged_into_id FROM {table} WHERE {into}"
            f" UNION SELECT id, merged_into_id FROM {table} WHERE {own} AND merged_into_id IS NOT NULL",
            [*into_values, *own_values],
        )
        merged = dict(cursor.fetchall())
    asked = customers if isinstance(customers, IdRange) else frozenset(customers)
    absorbed = {other: survivor for other, survivor in merged.items() if _holds(asked, survivor)}
    hidden = frozenset(other for other in merged if _holds(asked, other) and other not in absorbed)
    return Selection(customers, absorbed, hidden)


def within(column: str, customers: Customers) -> tuple[str, list[Any]]:
    """SQL condition and parameters for "the column is one of these", for any number of ids."""
    if isinstance(customers, IdRange):
        return f"{column} BETWEEN %s AND %s", [customers.first, customers.last]
    ids = [int(key) for key in customers]
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


def _holds(asked: IdRange | frozenset[int], key: int) -> bool:
    if isinstance(asked, IdRange):
        return asked.first <= key <= asked.last
    return key in asked
