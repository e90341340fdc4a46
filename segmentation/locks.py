"""Waiting for each other: customers are locked in one order, so that two writers never lock up; work is done once."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from segmentation import bulk
from segmentation.models import Customer


def lock_customers(customer_ids: Iterable[int]) -> set[int]:
    """Hold these customers' rows until the transaction ends (SQLite has one writer anyway); returns those that exist.

    Whatever is read about them afterwards is what the last writer left.
    """
    rows = Customer.objects.select_for_update().order_by("pk")
    return {key for (key,) in bulk.values_in(rows, sorted(set(customer_ids)), "pk", by="pk")}


@contextmanager
def turn(name: str) -> Iterator[None]:
    """Long work that several workers find missing at once: they wait for the first, then see what it stored.

    A killed worker's turn ends with its connection. On SQLite nobody waits, because that would hold up its one writer:
    both do the work, and the first to store it counts.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [zlib.crc32(name.encode())])
        yield
