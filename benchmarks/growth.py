"""Copies of the customers there are, until there are so many.

A copy has the same kind of life: the same sequence of events, shifted by up to a week, with other amounts. Its events
lie in the table in the order of time, as a shop writes them.
"""

# Names in these statements come from our own models and the database's catalogue; values are numbers worked out here.

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ATTRIBUTES_EVERY = 10  # of the copies, every tenth has the shop's own columns
WEEK = 7 * 86_400


@contextmanager
def indexed_later() -> Iterator[None]:
    """PostgreSQL fills tables many times faster when indexes are built, and keys checked, after."""
    from django.db import connection

    if connection.vendor == "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        taken = [name for table in _tables() for name in _taken_off(cursor, table)]
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET maintenance_work_mem = '1GB'")
        for statement in reversed(taken):  # keys before the foreign keys that lean on them
            cursor.execute(statement)


def _tables() -> list[str]:
    from segmentation.models import AttributeValue, Consent, ContactData, Customer, CustomerIdentity, Event

    grown = (Event, CustomerIdentity, ContactData, Consent, AttributeValue, Customer)
    return [model._meta.db_table for model in grown]


def _taken_off(cursor: Any, table: str) -> list[str]:
    """Drop the constraints and indexes of a table, but its primary key; how to make them again, the last first."""
    cursor.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = %s::regclass AND contype IN ('f', 'u') ORDER BY contype",
        [table],
    )
    again = []
    for name, definition in cursor.fetchall():
        again.append(f'ALTER TABLE "{table}" ADD CONSTRAINT "{name}" {definition}')
        cursor.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"')
    cursor.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indrelid = %s::regclass AND NOT indisprimary",
        [table],
    )
    for name, definition in cursor.fetchall():
        again.append(definition)
        cursor.execute(f"DROP INDEX {name}")
    return again


def grow(customers: int) -> None:
    from django.core.management.color import no_style
    from django.db import connection
    from django.db.models import Max

    from segmentation.models import Customer

    originals = list(Customer.objects.filter(merged_into=None).order_by("pk").values_list("pk", flat=True))
    if customers < len(originals):
        raise SystemExit(f"The smallest shop has {len(originals):,} customers.")
    span = Customer.objects.aggregate(last=Max("pk"))["last"]
    copies = -(-customers // len(originals)) - 1
    rest = customers - copies * len(originals)
    if not copies:
        return
    # (number of the copy, the last customer it takes): the last copy takes what is still wanted.
    limits = [*((number, originals[-1]) for number in range(1, copies)), (copies, originals[rest - 1])]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET work_mem = '1GB'")
    copied = f"WITH c(turn, last_id) AS (VALUES {', '.join(map(str, limits))})"
    _copy_people(copied, span)
    _copy_events(copied, span)
    with connection.cursor() as cursor:
        # Copies brought their ids along; the next customer gets a new one.
        for statement in connection.ops.sequence_reset_sql(no_style(), [Customer]):
            cursor.execute(statement)


def _copy_people(copied: str, span: int) -> None:
    from segmentation.models import AttributeValue, Consent, ContactData, Customer, CustomerIdentity

    offset = f"c.turn * {span}"
    move = {"customer_id": f"customer_id + {offset}"}
    theirs = "customer_id <= c.last_id"
    tenth = f"customer_id % {ATTRIBUTES_EVERY} = c.turn % {ATTRIBUTES_EVERY}"
    _copy(
        Customer,
        copied,
        "id <= c.last_id AND merged_into_id IS NULL",
        {"id": f"id + {offset}", "reference": "reference || '-' || c.turn"},
    )
    _copy(CustomerIdentity, copied, theirs, move | {"value": "value || '-' || c.turn"})
    _copy(ContactData, copied, theirs, move | {"email_index": "substr(c.turn || email_index, 1, 64)"})
    _copy(Consent, copied, theirs, move)
    _copy(AttributeValue, copied, f"{theirs} AND {tenth}", move)


def _copy_events(copied: str, span: int) -> None:
    from django.db import connection

    from segmentation.models import Event

    shift = f"((customer_id * 7919 + c.turn * 104729) % {WEEK})"
    later = (
        f"occurred_at - make_interval(secs => {shift})"
        if connection.vendor == "postgresql"
        else f"strftime('%Y-%m-%d %H:%M:%S', occurred_at, '-' || {shift} || ' seconds')"
    )
    changed = {
        "customer_id": f"customer_id + c.turn * {span}",
        "occurred_at": later,
        "source_key": "source_key || '-' || c.turn",
        "amount_minor": "amount_minor * (80 + (customer_id * 31 + c.turn * 17) % 41) / 100",
        "order_key": "CASE WHEN order_key = '' THEN '' ELSE order_key || '-' || c.turn END",
    }
    _copy(Event, copied, "customer_id <= c.last_id AND superseded_at IS NULL", changed, order="occurred_at")


def _copy(model: Any, copied: str, where: str, changed: dict[str, str], *, order: str = "") -> None:
    """Rows again for every copy, under other keys; a generated key is left to the table."""
    from django.db import connection

    table = connection.ops.quote_name(model._meta.db_table)
    columns = [
        str(field.column)
        for field in model._meta.concrete_fields
        if not (field.primary_key and field.column not in changed)
    ]
    values = ", ".join(changed.get(name, name) for name in columns)
    by = columns.index(order) + 1 if order else "c.turn"
    with connection.cursor() as cursor:
        cursor.execute(
            f"{copied} INSERT INTO {table} ({', '.join(columns)})"
            f" SELECT {values} FROM {table} CROSS JOIN c WHERE {where} ORDER BY {by}"
        )
