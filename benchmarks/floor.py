"""The floor of a batch classification: the same work by a bare script, with the same members and the same bytes.

For every 10,000 customers: their events as the product reads them, the quickest way that is known here (the covering
index built before, if the product has none), the product's feature expressions called bare, the bare torch module and
LightGBM boosters in the product's batches, the rules as polars expressions in one go, and a COPY of exactly the bytes
that the product wrote for these customers into fresh tables, whose indexes are built at the end. It has no leases, no
cursors, no checks for newer results, no comparison with what is stored, no fitted shop numbers and no rows to encode:
what it writes was spooled from the product's tables beforehand, outside the measured time. What it leaves out counts
against the product in the ratio.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import bare, setup
from benchmarks.processes import warm_workers

CHUNK = 10_000
HEADLINE = "headline"
HEADLINE_COLUMNS = (
    "id", "input_version", "tier", "churn_probability", "future_value_minor", "orders", "spent_minor",
    "first_order_at", "last_order_at", "scored_as_of", "scored_version", "abstain_reason", "priority",
    "current_offer_id",
)  # fmt: skip


def measure(workers: int) -> dict[str, Any]:
    """Run the floor on the database of the last finished classification; its tables are dropped again."""
    from django.db import connection

    place = Path(tempfile.mkdtemp(prefix="floor-", dir=setup.folder()))
    try:
        bare.cover_events()
        prepare(place)
        connection.close()
        with warm_workers("benchmarks.floor_worker", workers, [str(place)]) as warm:
            started = perf_counter()
            warm.go("walk")
            walked = warm.answers()
            warm.go("index")
            indexed = warm.answers()
            seconds = perf_counter() - started
    finally:
        shutil.rmtree(place, ignore_errors=True)
        bare.uncover_events()
        _drop_tables()
    stages: dict[str, float] = {}
    for answer in [*walked, *indexed]:
        for name, value in answer["stages"].items():
            stages[name] = stages.get(name, 0.0) + value
    return {
        "seconds": seconds,
        "rss_mib": max(answer["rss_mib"] for answer in indexed),
        "cpu": sum(answer["cpu"] + answer["server_cpu"] for answer in indexed),
        "server_cpu": sum(answer["server_cpu"] for answer in indexed),
        "stages": stages,
    }


def prepare(place: Path) -> None:
    """Chunks, pins, empty tables and the bytes to write, as files."""
    from segmentation.features.selection import customer_chunks
    from segmentation.models import ScoringRun

    run = ScoringRun.objects.filter(state=ScoringRun.State.DONE).latest("pk")
    chunks = [(chunk.first, chunk.last) for chunk in customer_chunks(CHUNK)]
    for name, (table, columns, key) in tables().items():
        _make_table(name, table, columns)
        for number, (first, last) in enumerate(chunks):
            _spool(place / f"{name}.{number}", table, columns, f"{key} BETWEEN {first} AND {last}")
    plan = {
        "run": run.pk,
        "chunks": chunks,
        "indexes": [index for name in tables() for index in _indexes(name)],
    }
    (place / "plan.json").write_text(json.dumps(plan))


def tables() -> dict[str, tuple[str, list[str], str]]:
    """Floor table → (product's table, columns, column of the customer) of everything a classification writes."""
    from segmentation.models import (
        Customer,
        CustomerFeatures,
        Decision,
        InputSnapshot,
        Membership,
        PastMembership,
        Score,
        ScoreHistory,
        ServicePriority,
    )

    found = {"floor_customer": (Customer._meta.db_table, list(HEADLINE_COLUMNS), "id")}
    for model in (
        CustomerFeatures,
        Score,
        ScoreHistory,
        Membership,
        PastMembership,
        Decision,
        InputSnapshot,
        ServicePriority,
    ):
        columns = [str(field.column) for field in model._meta.concrete_fields]
        found[f"floor_{model._meta.model_name}"] = (model._meta.db_table, columns, "customer_id")
    return found


def spooled(place: Path, number: int) -> Iterator[tuple[str, Path]]:
    for name in tables():
        yield name, place / f"{name}.{number}"


def _make_table(name: str, table: str, columns: list[str]) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {name}")
        cursor.execute(f"CREATE TABLE {name} AS SELECT {', '.join(columns)} FROM {table} LIMIT 0")


def _spool(path: Path, table: str, columns: list[str], where: str) -> None:
    from django.db import connection

    query = f"SELECT {', '.join(columns)} FROM {table} WHERE {where}"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with path.open("wb") as file, cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy:
                file.writelines(copy)
        else:
            rows = cursor.connection.execute(query).fetchall()
            bare.spool(path, [tuple(_plain(value) for value in row) for row in rows], width=len(columns))


def _plain(value: Any) -> Any:
    """SQLite's own types, so that writing them again converts nothing."""
    return value if value is None or isinstance(value, int | float | str | bytes) else str(value)


def _indexes(name: str) -> list[str]:
    """Statements that give a floor table the indexes of the product's."""
    from django.db import connection

    table, columns, _key = tables()[name]
    if name == "floor_customer":  # the product's serve its lists and were there before
        return [f"CREATE UNIQUE INDEX {name}_id ON {name} (id)"]
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, table)
    keyed = [
        c for c in constraints.values() if (c["index"] or c["unique"] or c["primary_key"]) and c["columns"]
    ]
    distinct = {
        tuple(c["columns"]): c["unique"] or c["primary_key"] for c in keyed if None not in c["columns"]
    }
    return [
        f"CREATE {'UNIQUE ' if unique else ''}INDEX {name}_{number} ON {name} ({', '.join(key)})"
        for number, (key, unique) in enumerate(distinct.items())
        if set(key) <= set(columns)
    ]


def _drop_tables() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        for name in tables():
            cursor.execute(f"DROP TABLE IF EXISTS {name}")
