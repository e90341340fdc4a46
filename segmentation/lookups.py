"""Rows by their keys, through statements that are worked out once: for Django a short query costs more than for the
database."""

# What is raw in these statements are the placeholders below.
# ruff: noqa: S611

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from django.core.exceptions import EmptyResultSet
from django.db import connection, models
from django.db.models import F, Func, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.query import get_related_populators
from django.db.transaction import TransactionManagementError

from segmentation.id_sets import MANY, Density, Keys, density, holes

Row = TypeVar("Row", bound=models.Model)
# Ids in one statement.
IDS_A_QUERY: Final = 5000
# Stand in the parameters of a statement for the ids, for those between them that nobody asks for, and for their ends.
_KEYS, _HOLES, _FIRST, _LAST = object(), object(), object(), object()


def values_in(
    queryset: QuerySet[Any], ids: Keys, *columns: str, by: str = "customer_id"
) -> Iterator[tuple[Any, ...]]:
    """`queryset.values_list(*columns)` for the rows whose `by` is among `ids`, any number of them.

    A queryset of all rows, or one that the caller keeps, is worked out once for each set of columns.
    """
    queryset = _same(queryset)
    for start in range(0, len(ids), IDS_A_QUERY):
        keys = ids[start : start + IDS_A_QUERY]
        shape = _Shape(connection.vendor, columns, by, isinstance(keys[0], str), density(keys))
        if shape.near and len(keys) >= MANY and _is_empty(queryset, by, keys):
            continue  # a first run asks for much that cannot be there yet; thousands of keys are long in sending
        try:
            statement = _kept(queryset, shape)
        except EmptyResultSet:
            return
        yield from statement.rows(keys)


def objects_in(queryset: QuerySet[Row], ids: Keys, *, by: str = "id") -> list[Row]:
    """The rows of `queryset` whose `by` is among `ids`, with what it selects of related rows; in no order.

    As for `values_in`, a queryset that the caller keeps is worked out once; of its prefetches nothing is read.
    """
    found: list[Row] = []
    for start in range(0, len(ids), IDS_A_QUERY):
        keys = ids[start : start + IDS_A_QUERY]
        shape = _Shape(connection.vendor, (), by, isinstance(keys[0], str), Density.FAR)
        found += _kept(queryset, shape).objects(keys)
    return found


def rows_of(queryset: QuerySet[Any, Any]) -> list[tuple[Any, ...]]:
    """What a `values_list` that the caller keeps finds now; it is worked out once."""
    known = _fixed.setdefault(queryset, {})
    if connection.vendor not in known:
        known[connection.vendor] = _statement(queryset)
    return list(known[connection.vendor].rows(()))


def _is_empty(queryset: QuerySet[Any], by: str, keys: Keys) -> bool:
    """Not asked of rows that are to be locked: locks are taken in one order only."""
    if queryset.query.select_for_update:
        return False
    return not queryset.filter(**{f"{by}__gte": min(keys), f"{by}__lte": max(keys)}).exists()


def _same(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """One queryset for all that ask a model for all its rows."""
    query = queryset.query
    if query.where or query.select or query.annotations or query.order_by or query.select_for_update:
        return queryset
    if query.is_sliced or query.combinator or query.distinct or not query.default_ordering:
        return queryset
    return _whole.setdefault(queryset.model, queryset)


class _Shape(NamedTuple):
    """What a statement depends on."""

    vendor: str
    columns: tuple[str, ...]
    by: str
    text: bool
    density: Density

    @property
    def near(self) -> bool:
        return self.density > Density.FAR


@dataclass(frozen=True)
class _Statement:
    sql: str
    values: tuple[Any, ...]
    compiler: Any
    converters: dict[Any, Any]
    locks: bool

    def objects(self, keys: Keys) -> list[Any]:
        """As Django's own ModelIterable makes them."""
        compiler, told = self.compiler, self.compiler.klass_info
        fields = told["select_fields"]
        first, last = fields[0], fields[-1] + 1
        names = [column[0].target.attname for column in compiler.select[first:last]]
        # The stubs are ahead of the Django that is pinned.
        populators = get_related_populators(told, compiler.select, connection.alias)  # type: ignore[call-arg]
        found = []
        for row in self.rows(keys):
            made = told["model"].from_db(connection.alias, names, row[first:last])
            for populator in populators:
                populator.populate(row, made)
            found.append(made)
        return found

    def rows(self, keys: Keys) -> Iterator[tuple[Any, ...]]:
        if self.locks and not connection.in_atomic_block:
            raise TransactionManagementError("Rows are held for the length of a transaction; there is none.")
        with connection.cursor() as cursor:
            cursor.execute(self.sql, [_given(value, keys) for value in self.values])
            rows = cursor.fetchall()
        if self.converters:
            return map(tuple, self.compiler.apply_converters(rows, self.converters))
        return iter(rows)


_known: WeakKeyDictionary[QuerySet[Any], dict[_Shape, _Statement]] = WeakKeyDictionary()
_fixed: WeakKeyDictionary[QuerySet[Any, Any], dict[str, _Statement]] = WeakKeyDictionary()
_whole: dict[type[models.Model], QuerySet[Any]] = {}


def _kept(queryset: QuerySet[Any], shape: _Shape) -> _Statement:
    """Worked out at the first time. Raises EmptyResultSet where nothing can be found."""
    known = _known.setdefault(queryset, {})
    if shape not in known:
        known[shape] = _worked_out(queryset, shape)
    return known[shape]


def _worked_out(queryset: QuerySet[Any], shape: _Shape) -> _Statement:
    asked = queryset.filter(_among(shape))
    return _statement(asked.values_list(*shape.columns) if shape.columns else asked)


def _statement(asked: QuerySet[Any, Any]) -> _Statement:
    compiler = asked.query.get_compiler(connection=connection)
    sql, values = compiler.as_sql()
    converters = compiler.get_converters([column[0] for column in compiler.select])
    locks = asked.query.select_for_update and connection.features.has_select_for_update
    return _Statement(sql, tuple(values), compiler, converters, locks)


def _among(shape: _Shape) -> Q:
    """The keys as one parameter: Django looks at every member of a list, which takes longer than the query."""
    among = ~_listed(shape, _HOLES) if shape.density == Density.DENSE else _listed(shape, _KEYS)
    if shape.near:
        # Without this a table that was filled a moment ago, and has no statistics yet, is read as a whole.
        among &= Q(_compared(shape.by, " >= ", RawSQL("%s", [_FIRST])))
        among &= Q(_compared(shape.by, " <= ", RawSQL("%s", [_LAST])))
    return among


def _listed(shape: _Shape, ids: object) -> Q:
    if shape.vendor == "sqlite":
        return Q(**{f"{shape.by}__in": RawSQL("SELECT value FROM json_each(%s)", [ids])})
    return Q(_compared(shape.by, " = ANY ", RawSQL("%s::text[]" if shape.text else "%s::bigint[]", [ids])))


def _compared(by: str, operator: str, value: RawSQL) -> Func:
    return Func(
        F(by), value, template="(%(expressions)s)", arg_joiner=operator, output_field=models.BooleanField()
    )


def _given(value: Any, keys: Keys) -> Any:
    if value is _KEYS:
        return _as_parameter(list(keys))
    if value is _HOLES:
        return _as_parameter(holes(keys))
    if value is _FIRST:
        return min(keys)
    return max(keys) if value is _LAST else value


def _as_parameter(ids: list[Any]) -> Any:
    return json.dumps(ids) if connection.vendor == "sqlite" else ids
