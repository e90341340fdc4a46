"""Shops of any size in databases of their own: the seed, grown by copies of its customers (benchmarks/growth.py).

Everything but browsing is as simulated; of browsing so much is left out that a customer has 20 events on average.
Lines and texts of events are left out: no classification reads them.
"""

# Names in these statements come from our own models; values are numbers worked out here.

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from benchmarks import growth, rules, seed, setup

EVENTS_A_CUSTOMER = 20
PREFIX = "tierwise_bench"
BATCH = 50_000


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
    here = Path(__file__)
    content = b"".join(path.read_bytes() for path in (*tables, here, here.with_name("growth.py")))
    return f"{seed.key()[:4]}{hashlib.sha256(content).hexdigest()[:6]}"


def fill(customers: int) -> None:
    """Fill the present, empty database."""
    from django.core.management import call_command
    from django.db import connection, transaction

    from segmentation import starter

    call_command("migrate", verbosity=0, interactive=False)
    with growth.indexed_later():
        with transaction.atomic():
            _take_over_seed()
            _thin_out_browsing()
        growth.grow(customers)
    starter.install()
    rules.install()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


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


if __name__ == "__main__":
    import sys

    import django

    django.setup()
    fill(int(sys.argv[1]))
