"""Many rows into a table at once: COPY and set statements on PostgreSQL, `executemany` on SQLite.

Rows are tuples in the order of `columns` (or a polars frame, whose columns of those names are taken). Columns are
model field names or attnames. Columns left out take the database's default, never a Python default. Callers hold
the transaction.
"""

# Every name in these statements comes from a model's own columns; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import polars as pl
from django.db import connection, models, transaction
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

# Below this many rows PostgreSQL gets arrays in one statement; above it a COPY into a temporary table is quicker.
COPY_FROM: Final = 1000
# Ids in one IN list.
IDS_A_QUERY: Final = 5000
_PLAIN = (
    models.IntegerField,
    models.FloatField,
    models.CharField,
    models.TextField,
    models.BooleanField,
    models.BinaryField,
)

Rows = pl.DataFrame | Iterable[Sequence[Any]]


@dataclass(frozen=True)
class Update:
    """On a conflict over `keys`, overwrite `columns`.

    newer: overwrite only when the new row's values of these columns are greater (compared as a tuple);
    `or_equal` lets equal ones overwrite too. With `changed`, a row whose `columns` are all equal stays untouched.
    """

    keys: tuple[str, ...]
    columns: tuple[str, ...]
    newer: tuple[str, ...] = ()
    or_equal: bool = False
    changed: bool = False


OnConflict = Literal["error", "ignore"] | Update


def insert(
    model: type[models.Model], columns: Sequence[str], rows: Rows, *, on_conflict: OnConflict = "error"
) -> int:
    """Insert rows and return how many were written (inserted or updated)."""
    fields = _fields(model, columns)
    values = _prepared(fields, columns, rows)
    if not values:
        return 0
    table = _quoted(model._meta.db_table)
    names = ", ".join(_column(field) for field in fields)
    conflict = _conflict(model, on_conflict)
    if connection.vendor == "sqlite":
        marks = ", ".join(["%s"] * len(fields))
        return _many(f"INSERT INTO {table} ({names}) VALUES ({marks}) {conflict}", values)
    if on_conflict == "error" and len(values) >= COPY_FROM:
        with connection.cursor() as cursor:
            _copy(cursor, f"COPY {table} ({names}) FROM STDIN", values)
        return len(values)
    return _from_source(
        fields, values, f"INSERT INTO {table} ({names}) SELECT {names} FROM {{source}} s {conflict}"
    )


def update(
    model: type[models.Model], columns: Sequence[str], rows: Rows, *, keys: Sequence[str] = ("id",)
) -> int:
    """Set the non-key columns of the rows found by `keys`; returns how many rows were found."""
    fields = _fields(model, columns)
    values = _prepared(fields, columns, rows)
    if not values:
        return 0
    table = _quoted(model._meta.db_table)
    key_fields = _fields(model, keys)
    changed = [field for field in fields if field not in key_fields]
    if connection.vendor == "sqlite":
        order = [fields.index(field) for field in (*changed, *key_fields)]
        sets = ", ".join(f"{_column(field)} = %s" for field in changed)
        where = " AND ".join(f"{_column(field)} = %s" for field in key_fields)
        return _many(
            f"UPDATE {table} SET {sets} WHERE {where}", [tuple(row[i] for i in order) for row in values]
        )
    sets = ", ".join(f"{_column(field)} = s.{_column(field)}" for field in changed)
    where = " AND ".join(f"t.{_column(field)} = s.{_column(field)}" for field in key_fields)
    return _from_source(fields, values, f"UPDATE {table} t SET {sets} FROM {{source}} s WHERE {where}")


def delete(model: type[models.Model], keys: Sequence[str], rows: Rows) -> int:
    """Delete the rows found by `keys` (no cascades, no signals); returns how many."""
    fields = _fields(model, keys)
    values = _prepared(fields, keys, rows)
    if not values:
        return 0
    table = _quoted(model._meta.db_table)
    if connection.vendor == "sqlite":
        where = " AND ".join(f"{_column(field)} = %s" for field in fields)
        return _many(f"DELETE FROM {table} WHERE {where}", values)
    where = " AND ".join(f"t.{_column(field)} = s.{_column(field)}" for field in fields)
    return _from_source(fields, values, f"DELETE FROM {table} t USING {{source}} s WHERE {where}")


def values_in(
    queryset: QuerySet[Any], ids: Sequence[int] | Sequence[str], *columns: str, by: str = "customer_id"
) -> Iterator[tuple[Any, ...]]:
    """`queryset.values_list(*columns)` for the rows whose `by` is among `ids`, in IN lists of a bearable length."""
    for start in range(0, len(ids), IDS_A_QUERY):
        part = queryset.filter(**{f"{by}__in": _among(ids[start : start + IDS_A_QUERY])})
        yield from part.values_list(*columns).iterator(chunk_size=IDS_A_QUERY)


def _among(keys: Sequence[int] | Sequence[str]) -> RawSQL:
    """The keys as one parameter: Django looks at every member of a list, which takes longer than the query."""
    if connection.vendor == "sqlite":
        return RawSQL("SELECT value FROM json_each(%s)", [json.dumps(list(keys))])
    if keys and isinstance(keys[0], str):
        return RawSQL("SELECT unnest(%s::text[])", [list(keys)])
    return RawSQL("SELECT unnest(%s::bigint[])", [list(keys)])


def _fields(model: type[models.Model], columns: Sequence[str]) -> list[models.Field[Any, Any]]:
    by_name: dict[str, models.Field[Any, Any]] = {}
    for field in model._meta.concrete_fields:
        by_name[field.name] = by_name[field.attname] = field
    return [by_name[column] for column in columns]


def _prepared(
    fields: Sequence[models.Field[Any, Any]], columns: Sequence[str], rows: Rows
) -> list[tuple[Any, ...]]:
    """Rows in the shape the driver wants; dates, JSON and the like go through the field."""
    special = {index: field for index, field in enumerate(fields) if not _is_plain(field)}
    values: Iterable[Sequence[Any]] = rows if not isinstance(rows, pl.DataFrame) else ()
    if isinstance(rows, pl.DataFrame):
        frame, ready = _with_times(rows.select(list(columns)))
        special = {index: field for index, field in special.items() if index not in ready}
        if not special:
            return frame.rows()
        values = frame.iter_rows()
    if not special:
        return [tuple(row) for row in values]
    memo: dict[tuple[int, Any], Any] = {}
    return [
        tuple(_adapt(special[i], i, value, memo) if i in special else value for i, value in enumerate(row))
        for row in values
    ]


def _with_times(frame: pl.DataFrame) -> tuple[pl.DataFrame, set[int]]:
    """UTC columns as the driver takes them, all at once, and their positions; SQLite keeps times as text."""
    utc = [
        name
        for name, kind in frame.schema.items()
        if isinstance(kind, pl.Datetime) and kind.time_zone == "UTC"
    ]
    if connection.vendor == "sqlite":
        text = pl.col(utc).dt.strftime("%Y-%m-%d %H:%M:%S%.6f").str.strip_suffix(".000000")
        frame = frame.with_columns(text)
    return frame, {frame.columns.index(name) for name in utc}


def _is_plain(field: models.Field[Any, Any]) -> bool:
    target = field.target_field if isinstance(field, models.ForeignKey) else field
    return isinstance(target, _PLAIN)


def _adapt(field: models.Field[Any, Any], index: int, value: Any, memo: dict[tuple[int, Any], Any]) -> Any:
    if value is None:
        return None
    if not isinstance(field, models.DateField | models.DecimalField):
        return field.get_db_prep_save(value, connection)
    key = (index, value)
    if key not in memo:
        memo[key] = field.get_db_prep_save(value, connection)
    return memo[key]


def _conflict(model: type[models.Model], on_conflict: OnConflict) -> str:
    if on_conflict == "error":
        return ""
    if on_conflict == "ignore":
        return "ON CONFLICT DO NOTHING"
    keys = ", ".join(_column(field) for field in _fields(model, on_conflict.keys))
    columns = [_column(field) for field in _fields(model, on_conflict.columns)]
    sets = ", ".join(f"{column} = excluded.{column}" for column in columns)
    conditions = _conditions(model, on_conflict, columns)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"ON CONFLICT ({keys}) DO UPDATE SET {sets}{where}"


def _conditions(model: type[models.Model], rule: Update, columns: Sequence[str]) -> list[str]:
    table = _quoted(model._meta.db_table)
    conditions = []
    if rule.newer:
        newer = [_column(field) for field in _fields(model, rule.newer)]
        new, old = (", ".join(f"{side}.{column}" for column in newer) for side in ("excluded", table))
        conditions.append(f"({new}) {'>=' if rule.or_equal else '>'} ({old})")
    if rule.changed:
        differs = "IS NOT" if connection.vendor == "sqlite" else "IS DISTINCT FROM"
        conditions.append("(" + " OR ".join(f"excluded.{c} {differs} {table}.{c}" for c in columns) + ")")
    return conditions


def _many(sql: str, values: list[tuple[Any, ...]]) -> int:
    with connection.cursor() as cursor:
        cursor.executemany(sql, values)
        return max(cursor.rowcount, 0)


def _from_source(fields: Sequence[models.Field[Any, Any]], values: list[tuple[Any, ...]], sql: str) -> int:
    """Run `sql` (PostgreSQL) with {source} a row source that has the fields' columns."""
    types = [_type(field) for field in fields]
    names = [_column(field) for field in fields]
    with connection.cursor() as cursor:
        if len(values) < COPY_FROM:
            arrays = ", ".join(f"%s::{kind}[]" for kind in types)
            source = f"(SELECT * FROM unnest({arrays}) AS u({', '.join(names)}))"
            cursor.execute(
                sql.replace("{source}", source), [list(column) for column in zip(*values, strict=True)]
            )
            return max(cursor.rowcount, 0)
        definition = ", ".join(f"{name} {kind}" for name, kind in zip(names, types, strict=True))
        # The temporary table lives as long as the transaction.
        with transaction.atomic(savepoint=False):
            cursor.execute(f"CREATE TEMPORARY TABLE bulk_rows ({definition}) ON COMMIT DROP")
            _copy(cursor, f"COPY bulk_rows ({', '.join(names)}) FROM STDIN", values)
            cursor.execute(sql.replace("{source}", "bulk_rows"))
            written = max(cursor.rowcount, 0)
            cursor.execute("DROP TABLE bulk_rows")
        return written


def _type(field: models.Field[Any, Any]) -> str:
    """The column's type without identity or length."""
    kind = field.rel_db_type(connection) or field.db_type(connection) or "text"
    return "varchar" if kind.startswith("varchar") else kind


def _copy(cursor: Any, sql: str, values: Iterable[tuple[Any, ...]]) -> None:
    with connection.wrap_database_errors, cursor.copy(sql) as copy:
        for row in values:
            copy.write_row(row)


def _column(field: models.Field[Any, Any]) -> str:
    return _quoted(str(field.column))


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
