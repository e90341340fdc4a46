"""Shops of any size in databases of their own: the seed, grown by copies of its customers that differ in time and money.

A copy of a customer has the same kind of life: the same sequence of events, shifted by up to a week, with other
amounts. Everything but browsing is as simulated; of browsing so much is left out that a customer has 20 events on
average. Events of the copies lie in the table in the order of time, as a shop writes them. Lines and texts of
events are left out: no classification reads them.
"""

# Names in these statements come from our own models; values are numbers worked out here.

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import rules, seed, setup

EVENTS_A_CUSTOMER = 20
ATTRIBUTES_EVERY = 10  # of the copies, every tenth has the shop's own columns
PREFIX = os.environ.get("BENCH_PREFIX", "tierwise_bench")  # keeps two checkouts on one server apart
BATCH = 50_000
WEEK = 7 * 86_400


def postgres(customers: int) -> str:
    """URL of a PostgreSQL database with so many customers whom nobody has classified yet."""
    import psycopg

    made, working = f"{PREFIX}_{_key()}_{customers}", f"{PREFIX}_work_{os.getpid()}"
    with psycopg.connect(f"{setup.SERVER}/postgres", autocommit=True) as server:
        if made not in {row[0] for row in server.execute("SELECT datname FROM pg_database")}:
            server.execute(f"DROP DATABASE IF EXISTS {made}_part")
            server.execute(f"CREATE DATABASE {made}_part")
            setup.run("benchmarks.data", str(customers), url=f"{setup.SERVER}/{made}_part")
            server.execute(f"ALTER DATABASE {made}_part RENAME TO {made}")
        server.execute(f"CREATE DATABASE {working} TEMPLATE {made} STRATEGY file_copy")
    return f"{setup.SERVER}/{working}"


def sqlite(customers: int) -> str:
    """The same as a SQLite file."""
    made = setup.folder() / f"shop-{_key()}-{customers}.sqlite3"
    if not made.exists():
        growing = made.with_suffix(".part")
        growing.unlink(missing_ok=True)
        setup.run("benchmarks.data", str(customers), url=setup.sqlite_url(growing))
        growing.rename(made)
    working = setup.folder() / f"work-{os.getpid()}.sqlite3"
    shutil.copyfile(made, working)
    return setup.sqlite_url(working)


def empty(*, sqlite: bool = False) -> str:
    """URL of a database without tables."""
    import psycopg

    if sqlite:
        return setup.sqlite_url(setup.folder() / f"work-{os.getpid()}.sqlite3")
    working = f"{PREFIX}_work_{os.getpid()}"
    with psycopg.connect(f"{setup.SERVER}/postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {working}")
    return f"{setup.SERVER}/{working}"


def drop(url: str) -> None:
    """Remove a database that `postgres` or `sqlite` gave out."""
    import psycopg

    name = url.rpartition("/")[2]
    if url.startswith("sqlite"):
        for path in setup.folder().glob(f"{name}*"):
            path.unlink()
        return
    with psycopg.connect(f"{setup.SERVER}/postgres", autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _key() -> str:
    """Changes with what features mean, with the tables, and with this file."""
    tables = sorted((Path(__file__).parent.parent / "segmentation" / "migrations").glob("0*.py"))
    content = b"".join(path.read_bytes() for path in (*tables, Path(__file__)))
    return f"{seed.key()[:4]}{hashlib.sha256(content).hexdigest()[:6]}"


def fill(customers: int) -> None:
    """Fill the present, empty database."""
    from django.core.management import call_command
    from django.db import connection, transaction

    from segmentation import starter

    call_command("migrate", verbosity=0, interactive=False)
    with _index_later():
        with transaction.atomic():
            _take_over_seed()
            _thin_out_browsing()
        _grow(customers)
    starter.install()
    rules.install()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _index_later() -> Iterator[None]:
    """PostgreSQL fills the event table many times faster when its indexes are built after."""
    from django.db import connection

    from segmentation.models import Event

    if connection.vendor == "sqlite":
        yield
        return
    with connection.schema_editor(atomic=False) as editor:
        for constraint in Event._meta.constraints:
            editor.remove_constraint(Event, constraint)
        for index in Event._meta.indexes:
            editor.remove_index(Event, index)
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET maintenance_work_mem = '1GB'")
    with connection.schema_editor(atomic=False) as editor:
        for constraint in Event._meta.constraints:
            editor.add_constraint(Event, constraint)
        for index in Event._meta.indexes:
            editor.add_index(Event, index)


def _take_over_seed() -> None:
    """Every row of the seed, table by table; columns that the seed lacks take their default."""
    from django.apps import apps
    from django.db import connection, connections

    from segmentation.models import EventItem, EventText

    connections.settings["seed"] = connections.configure_settings(
        {"default": {}, "seed": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(seed.database())}}
    )["seed"]
    tables = set(connections["seed"].introspection.table_names())
    tables -= {model._meta.db_table for model in (EventItem, EventText)}
    models = apps.get_app_config("segmentation").get_models(include_auto_created=True)
    taken = [model for model in models if model._meta.db_table in tables]
    for model in taken:
        _take_over(model)
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(_no_style(), taken):
            cursor.execute(statement)


def _take_over(model: Any) -> None:
    from django.db import connections

    from segmentation import bulk

    with connections["seed"].cursor() as cursor:
        there = {
            column.name
            for column in connections["seed"].introspection.get_table_description(
                cursor, model._meta.db_table
            )
        }
    columns = [field.attname for field in model._meta.concrete_fields if field.column in there]
    rows = model._base_manager.using("seed").values_list(*columns).order_by("pk").iterator(chunk_size=BATCH)
    model._base_manager.all().delete()
    batch: list[tuple[Any, ...]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            bulk.insert(model, columns, batch)
            batch = []
    bulk.insert(model, columns, batch)


def _no_style() -> Any:
    from django.core.management.color import no_style

    return no_style()


def _thin_out_browsing() -> None:
    from django.db import connection

    from segmentation.kinds import EventKind
    from segmentation.models import Customer, Event

    kinds = (
        EventKind.VIEWED,
        EventKind.CART_ADDED,
        EventKind.CART_REMOVED,
        EventKind.FAVOURITED,
        EventKind.SEARCHED,
    )
    browsing = Event.objects.filter(kind__in=kinds).count()
    surplus = Event.objects.count() - EVENTS_A_CUSTOMER * Customer.objects.count()
    chosen = f"kind IN ({', '.join(str(int(kind)) for kind in kinds)}) AND id * 7919 % 1000 < {1000 * surplus // browsing}"
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {connection.ops.quote_name(Event._meta.db_table)} WHERE {chosen}")


def _grow(customers: int) -> None:
    """Copies of the seed's customers until there are so many."""
    from django.db.models import Max

    from segmentation.models import Customer

    originals = list(Customer.objects.filter(merged_into=None).order_by("pk").values_list("pk", flat=True))
    if customers < len(originals):
        raise SystemExit(f"The smallest shop has {len(originals):,} customers.")
    span = Customer.objects.aggregate(last=Max("pk"))["last"]
    copies = -(-customers // len(originals)) - 1
    rest = customers - copies * len(originals)
    limits = [originals[-1]] * (copies - 1) + [originals[rest - 1]] if copies else []
    for number, limit in enumerate(limits, start=1):
        _copy_people(number, number * span, limit)
    _copy_events(limits, span)


def _copy_people(number: int, offset: int, limit: int) -> None:
    from segmentation.models import AttributeValue, Consent, ContactData, Customer, CustomerIdentity

    people = f"id <= {limit} AND merged_into_id IS NULL"
    theirs = f"customer_id <= {limit}"
    move = {"customer_id": f"customer_id + {offset}"}
    rename = f"|| '-{number}'"
    _copy(Customer, people, {"id": f"id + {offset}", "reference": f"reference {rename}"})
    _copy(CustomerIdentity, theirs, move | {"value": f"value {rename}"})
    _copy(ContactData, theirs, move | {"email_index": f"substr('{number}' || email_index, 1, 64)"})
    _copy(Consent, theirs, move)
    _copy(
        AttributeValue, f"{theirs} AND customer_id % {ATTRIBUTES_EVERY} = {number % ATTRIBUTES_EVERY}", move
    )


def _copy_events(limits: list[int], span: int) -> None:
    """All copies at once, so that the table has them in the order of time."""
    from django.db import connection

    from segmentation.models import Event

    if not limits:
        return
    shift = f"((customer_id * 7919 + c.number * 104729) % {WEEK})"
    later = (
        f"occurred_at - make_interval(secs => {shift})"
        if connection.vendor == "postgresql"
        else f"strftime('%Y-%m-%d %H:%M:%S', occurred_at, '-' || {shift} || ' seconds')"
    )
    numbers = ", ".join(f"({number}, {limit})" for number, limit in enumerate(limits, start=1))
    table = connection.ops.quote_name(Event._meta.db_table)
    changed = {
        "customer_id": f"customer_id + c.number * {span}",
        "occurred_at": later,
        "source_key": "source_key || '-' || c.number",
        "amount_minor": "amount_minor * (80 + (customer_id * 31 + c.number * 17) % 41) / 100",
        "order_key": "CASE WHEN order_key = '' THEN '' ELSE order_key || '-' || c.number END",
    }
    columns = [str(field.column) for field in Event._meta.concrete_fields if not field.primary_key]
    values = ", ".join(changed.get(name, name) for name in columns)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET work_mem = '1GB'")
        cursor.execute(
            f"WITH c(number, last_id) AS (VALUES {numbers})"
            f" INSERT INTO {table} ({', '.join(columns)})"
            f" SELECT {values} FROM {table} CROSS JOIN c"
            f" WHERE customer_id <= c.last_id AND superseded_at IS NULL"
            f" ORDER BY {columns.index('occurred_at') + 1}"
        )


def _copy(model: Any, where: str, changed: dict[str, str]) -> None:
    """Rows again under other keys; a generated key is left to the table."""
    from django.db import connection

    table = connection.ops.quote_name(model._meta.db_table)
    columns = [
        str(field.column)
        for field in model._meta.concrete_fields
        if not (field.primary_key and field.column not in changed)
    ]
    values = ", ".join(changed.get(name, name) for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} WHERE {where}"
        )


if __name__ == "__main__":
    import sys

    import django

    django.setup()
    fill(int(sys.argv[1]))
