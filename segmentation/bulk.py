"""Many rows into a table at once: COPY and set statements on PostgreSQL, `executemany` on SQLite.

Rows are tuples in the order of `columns`, or a polars frame, whose columns of those names are taken and go to
PostgreSQL as they are, without a Python object a value. Columns are model field names or attnames. Columns left out
take the database's default, never a Python default. Callers hold the transaction.
"""

# Every name in these statements comes from a model's own columns; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import polars as pl
from django.db import connection, models, transaction

from segmentation import pgcopy
from segmentation.lookups import values_in as values_in

# Below this many rows PostgreSQL gets arrays in one statement; above it a COPY into a temporary table is quicker.
COPY_FROM: Final = 1000
_PLAIN = (
    models.IntegerField,
    models.FloatField,
    models.CharField,
    models.TextField,
    models.BooleanField,
    models.BinaryField,
)

Rows = pl.DataFrame | Iterable[Sequence[Any]]
Prepared = pl.DataFrame | list[tuple[Any, ...]]


@dataclass(frozen=True)
class Update:
    """On a conflict over `keys`, overwrite `columns`.

    newer: overwrite only when the new row's values of these columns are greater (compared as a tuple);
    `or_equal` lets equal ones overwrite too. With `changed`, a row whose `columns` are all equal stays untouched.
    locked: nobody else can write rows of these keys meanwhile (their customers are locked), so where none is stored
    yet a frame is copied straight into the table.
    """

    keys: tuple[str, ...]
    columns: tuple[str, ...]
    newer: tuple[str, ...] = ()
    or_equal: bool = False
    changed: bool = False
    locked: bool = False


OnConflict = Literal["error", "ignore"] | Update


def insert(
    model: type[models.Model], columns: Sequence[str], rows: Rows, *, on_conflict: OnConflict = "error"
) -> int:
    """Insert rows and return how many were written (inserted or updated)."""
    if _is_nothing(rows):
        return 0
    fields = _fields(model, columns)
    values = _prepared(fields, columns, rows)
    if not len(values):
        return 0
    table = _quoted(model._meta.db_table)
    names = ", ".join(_column(field) for field in fields)
    conflict = _conflict(model, on_conflict)
    if isinstance(values, list) and connection.vendor == "sqlite":
        marks = ", ".join(["%s"] * len(fields))
        return _many(f"INSERT INTO {table} ({names}) VALUES ({marks}) {conflict}", values)
    if len(values) >= COPY_FROM and _is_free(model, on_conflict, values):
        with connection.cursor() as cursor:
            _copy(cursor, f"{table} ({names})", fields, values)
        return len(values)
    return _from_source(
        fields, values, f"INSERT INTO {table} ({names}) SELECT {names} FROM {{source}} s {conflict}"
    )


def update(
    model: type[models.Model], columns: Sequence[str], rows: Rows, *, keys: Sequence[str] = ("id",)
) -> int:
    """Set the non-key columns of the rows found by `keys`; returns how many rows were found."""
    if _is_nothing(rows):
        return 0
    fields = _fields(model, columns)
    values = _prepared(fields, columns, rows)
    if not len(values):
        return 0
    table = _quoted(model._meta.db_table)
    key_fields = _fields(model, keys)
    changed = [field for field in fields if field not in key_fields]
    if isinstance(values, list) and connection.vendor == "sqlite":
        order = [fields.index(field) for field in (*changed, *key_fields)]
        sets = ", ".join(f"{_column(field)} = %s" for field in changed)
        where = " AND ".join(f"{_column(field)} = %s" for field in key_fields)
        return _many(
            f"UPDATE {table} SET {sets} WHERE {where}", [tuple(row[i] for i in order) for row in values]
        )
    sets = ", ".join(f"{_column(field)} = s.{_column(field)}" for field in changed)
    where = " AND ".join(f"t.{_column(field)} = s.{_column(field)}" for field in key_fields)
    near = _near(key_fields, values)
    return _from_source(fields, values, f"UPDATE {table} t SET {sets} FROM {{source}} s WHERE {where}{near}")


def delete(model: type[models.Model], keys: Sequence[str], rows: Rows) -> int:
    """Delete the rows found by `keys` (no cascades, no signals); returns how many."""
    if _is_nothing(rows):
        return 0
    fields = _fields(model, keys)
    values = _prepared(fields, keys, rows)
    if not len(values):
        return 0
    table = _quoted(model._meta.db_table)
    if isinstance(values, list) and connection.vendor == "sqlite":
        where = " AND ".join(f"{_column(field)} = %s" for field in fields)
        return _many(f"DELETE FROM {table} WHERE {where}", values)
    where = " AND ".join(f"t.{_column(field)} = s.{_column(field)}" for field in fields)
    near = _near(fields, values)
    return _from_source(fields, values, f"DELETE FROM {table} t USING {{source}} s WHERE {where}{near}")


def defaults(model: type[models.Model], given: Sequence[str]) -> dict[str, Any]:
    """What a new row has by Python's defaults, the same in every row, in columns that are not given and that the
    database would leave empty."""
    return {
        field.attname: field.get_default()
        for field in model._meta.concrete_fields
        if field.attname not in given
        and not field.primary_key
        and not field.has_db_default()
        and (field.has_default() or not field.null)
    }


def new_ids(model: type[models.Model], count: int) -> list[int]:
    """Ids for rows about to be inserted, so that nobody has to ask afterwards which ones they got.

    Needs a transaction: SQLite's one writer keeps others from taking the same ones.
    """
    if not count:
        return []
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = %s", [table])
            last = cursor.fetchone()[0] or 0
            return list(range(last + 1, last + 1 + count))
        cursor.execute(
            # The sequence is looked up once, not for every number.
            "SELECT array_agg(nextval(name)) FROM (SELECT pg_get_serial_sequence(%s, 'id')::regclass AS name OFFSET 0) "
            "AS of_table, generate_series(1, %s)",
            [_quoted(table), count],
        )
        return list(cursor.fetchone()[0] or ())


def _is_nothing(rows: Rows) -> bool:
    return isinstance(rows, pl.DataFrame) and rows.is_empty()


def _fields(model: type[models.Model], columns: Sequence[str]) -> list[models.Field[Any, Any]]:
    by_name: dict[str, models.Field[Any, Any]] = {}
    for field in model._meta.concrete_fields:
        by_name[field.name] = by_name[field.attname] = field
    return [by_name[column] for column in columns]


def _prepared(fields: Sequence[models.Field[Any, Any]], columns: Sequence[str], rows: Rows) -> Prepared:
    """Rows in the shape the driver wants; dates, JSON and the like go through the field.

    A frame stays one where PostgreSQL can take it as it is; its columns then have the names of the table's.
    """
    special = {index: field for index, field in enumerate(fields) if not _is_plain(field)}
    if isinstance(rows, pl.DataFrame):
        # Every query of polars takes longer than the few rows of one customer.
        frame = pl.DataFrame(
            [rows[name].alias(str(field.column)) for name, field in zip(columns, fields, strict=True)]
        )
        if connection.vendor == "postgresql" and pgcopy.can_write(frame, _types(fields)):
            return frame
        frame, ready = _with_times(frame)
        special = {index: field for index, field in special.items() if index not in ready}
        rows = frame.rows()
    if not special:
        return [tuple(row) for row in rows]
    memo: dict[tuple[int, Any], Any] = {}
    return [
        tuple(_adapt(special[i], i, value, memo) if i in special else value for i, value in enumerate(row))
        for row in rows
    ]


def _with_times(frame: pl.DataFrame) -> tuple[pl.DataFrame, set[int]]:
    """Days and UTC times as the driver takes them, all at once, and their positions; SQLite keeps both as text."""
    utc = [
        name
        for name, kind in frame.schema.items()
        if isinstance(kind, pl.Datetime) and kind.time_zone == "UTC"
    ]
    days = [name for name, kind in frame.schema.items() if kind == pl.Date]
    if connection.vendor == "sqlite":
        text = pl.col(utc).dt.strftime("%Y-%m-%d %H:%M:%S%.6f").str.strip_suffix(".000000")
        frame = frame.with_columns(text, pl.col(days).dt.strftime("%Y-%m-%d"))
    return frame, {frame.columns.index(name) for name in (*utc, *days)}


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


def _is_free(model: type[models.Model], on_conflict: OnConflict, values: Prepared) -> bool:
    """Whether rows can be copied straight in: nothing stored is in their way."""
    if not isinstance(on_conflict, Update):
        return on_conflict == "error"
    if not on_conflict.locked or not isinstance(values, pl.DataFrame):
        return False
    first = _fields(model, on_conflict.keys[:1])
    where = _near(first, values).removeprefix(" AND ")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {_quoted(model._meta.db_table)} t WHERE {where})")
        return not cursor.fetchone()[0]


def _near(keys: Sequence[models.Field[Any, Any]], values: Prepared) -> str:
    """A condition that keeps a join with thousands of neighbours from reading the whole table."""
    if not isinstance(values, pl.DataFrame) or not values.schema[str(keys[0].column)].is_integer():
        return ""
    key = values[str(keys[0].column)].to_list()
    return f" AND t.{_column(keys[0])} BETWEEN {min(key)} AND {max(key)}"


def _from_source(fields: Sequence[models.Field[Any, Any]], values: Prepared, sql: str) -> int:
    """Run `sql` (PostgreSQL) with {source} a row source that has the fields' columns."""
    types = [_type(field) for field in fields]
    names = [_column(field) for field in fields]
    with connection.cursor() as cursor:
        if len(values) < COPY_FROM:
            arrays = ", ".join(f"%s::{kind}[]" for kind in types)
            source = f"(SELECT * FROM unnest({arrays}) AS u({', '.join(names)}))"
            cursor.execute(sql.replace("{source}", source), _lists(values))
            return max(cursor.rowcount, 0)
        definition = ", ".join(f"{name} {kind}" for name, kind in zip(names, types, strict=True))
        # The temporary table lives as long as the transaction.
        with transaction.atomic(savepoint=False):
            cursor.execute(f"CREATE TEMPORARY TABLE bulk_rows ({definition}) ON COMMIT DROP")
            _copy(cursor, f"bulk_rows ({', '.join(names)})", fields, values)
            cursor.execute(sql.replace("{source}", "bulk_rows"))
            written = max(cursor.rowcount, 0)
            cursor.execute("DROP TABLE bulk_rows")
        return written


def _lists(values: Prepared) -> list[list[Any]]:
    if isinstance(values, pl.DataFrame):
        return [column.to_list() for column in values]
    return [list(column) for column in zip(*values, strict=True)]


def _types(fields: Sequence[models.Field[Any, Any]]) -> dict[str, str]:
    return {str(field.column): _type(field) for field in fields}


def _type(field: models.Field[Any, Any]) -> str:
    """The column's type without identity or length."""
    return _type_at(field, connection.vendor)


@lru_cache(maxsize=1024)
def _type_at(field: models.Field[Any, Any], vendor: str) -> str:
    kind = field.rel_db_type(connection) or field.db_type(connection) or "text"
    return "varchar" if kind.startswith("varchar") else kind


def _copy(
    cursor: Any,
    target: str,
    fields: Sequence[models.Field[Any, Any]],
    values: Prepared,
) -> None:
    if isinstance(values, pl.DataFrame):
        with (
            connection.wrap_database_errors,
            cursor.copy(f"COPY {target} FROM STDIN (FORMAT binary)") as copy,
        ):
            for block in pgcopy.blocks(values, _types(fields)):
                copy.write(block)
        return
    with connection.wrap_database_errors, cursor.copy(f"COPY {target} FROM STDIN") as copy:
        for row in values:
            copy.write_row(row)


def _column(field: models.Field[Any, Any]) -> str:
    return _quoted(str(field.column))


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
