"""Customers to rescore: one waiting row a customer, however much happens meanwhile."""

# Names in the statement come from our own models; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from django.db import connection, transaction
from django.db.models import F

from segmentation import bulk, leases
from segmentation.batches import batches
from segmentation.jobs import Job, enqueue_due
from segmentation.locks import lock_customers
from segmentation.models import Customer, DueCustomer


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
    """New rows, and one generation more for those that wait already or are over: one statement, so that no worker that
    claims meanwhile can miss this change."""
    sql, values = _statement(connection.vendor)
    ids = list(customer_ids)
    with connection.cursor() as cursor:
        cursor.execute(sql, [cause[:64], *values, json.dumps(ids) if connection.vendor == "sqlite" else ids])


@lru_cache
def _statement(vendor: str) -> tuple[str, list[Any]]:
    """The text, and what follows the cause in its parameters. vendor: each has its own way to read a list."""
    quote = connection.ops.quote_name
    table = quote(DueCustomer._meta.db_table)
    defaults = bulk.defaults(DueCustomer, ("customer_id", "cause"))
    others = ", ".join(quote(name) for name in defaults)
    over = f"{table}.state IN ({', '.join(repr(state.value) for state in leases.OVER)})"
    # What is over starts as a new row does.
    anew = ", ".join(
        f"{name} = CASE WHEN {over} THEN excluded.{name} ELSE {table}.{name} END"
        for name in ("state", "attempts", "run_after", "finished_at")
    )
    listed = "json_each(%s) AS due" if vendor == "sqlite" else "unnest(%s::bigint[]) AS due(value)"
    return (
        f"INSERT INTO {table} (cause, {others}, customer_id)"
        f" SELECT %s, {', '.join(['%s'] * len(defaults))}, due.value FROM {listed} WHERE true"
        f" ON CONFLICT (customer_id) DO UPDATE"
        f" SET cause = excluded.cause, generation = {table}.generation + 1, {anew}",
        list(defaults.values()),
    )
