"""Locking customers, always in one order: two writers with the same customers wait for each other instead of locking up."""

from __future__ import annotations

from collections.abc import Iterable

from segmentation import bulk
from segmentation.models import Customer


def lock_customers(customer_ids: Iterable[int]) -> set[int]:
    """Hold these customers' rows until the transaction ends (SQLite has one writer anyway); returns those that exist.

    Whatever is read about them afterwards is what the last writer left.
    """
    rows = Customer.objects.select_for_update().order_by("pk")
    return {key for (key,) in bulk.values_in(rows, sorted(set(customer_ids)), "pk", by="pk")}
