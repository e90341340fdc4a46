"""Waiting for each other: customers are locked in one order, so that two writers never lock up; work is done once."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.models import QuerySet

from segmentation import bulk
from segmentation.models import Customer

# Kept, so that its statement is worked out once (segmentation/lookups.py).
_CUSTOMERS: Final = Customer.objects.select_for_update().order_by("pk")


def lock_customers(customer_ids: Iterable[int]) -> set[int]:
    """Hold these customers' rows until the transaction ends (SQLite has one writer anyway); returns those that exist.

    Whatever is read about them afterwards is what the last writer left.
    """
    wanted = sorted(set(customer_ids))
    return {key for (key,) in bulk.values_in(_CUSTOMERS, wanted, "pk", by="pk")}


def hold(rows: QuerySet[Any]) -> list[tuple[Any, ...]]:
    """What `values_list` finds, kept from being deleted until the transaction ends; others may hold it as well.

    It is the lock that a foreign key takes, once a query instead of once a row. Whoever deletes such rows locks
    them first (SQLite has one writer anyway).
    """
    if connection.vendor != "postgresql":
        return list(rows)
    try:
        sql, values = rows.query.sql_with_params()
    except EmptyResultSet:
        return []
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} FOR KEY SHARE", values)
        return list(cursor.fetchall())


def commit_later() -> None:
    """The present transaction's commit answers before its rows are on the disk (PostgreSQL; within a second they are).

    Only for work that is done again when a crash loses it, and that tells nobody outside before a later commit.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = off")


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
