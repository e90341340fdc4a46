"""Pages by keyset: each begins after the last row of the one before, so rows that come in between move nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from django.core.exceptions import FieldDoesNotExist
from django.core.exceptions import ValidationError as BadValue
from django.db.models import Field, Q, QuerySet
from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

_BIGGEST = 2**63 - 1


class KeysetPagination(BasePagination):
    """One query a page, no counts, however deep. All columns of `ordering` go in one direction."""

    _next: str | None = None

    def page(self, rows: QuerySet[Any], *, ordering: Sequence[str], cursor: str, limit: int) -> list[Any]:
        """At most `limit` rows after `cursor` (empty: from the beginning). Raises ValidationError."""
        if cursor:
            rows = rows.filter(_after(rows, ordering, _decode(cursor)))
        found = list(rows.order_by(*ordering)[: limit + 1])
        if len(found) > limit:
            found.pop()
            self._next = _encode([getattr(found[-1], name.lstrip("-")) for name in ordering])
        return found

    def page_of(
        self, find: Callable[[int | None, int], list[Any]], *, key: str, cursor: str, limit: int
    ) -> list[Any]:
        """The same for rows that are no table's: find(after, most) gives those beyond this value of `key`, a number."""
        found = find(_number(_decode(cursor)) if cursor else None, limit + 1)
        if len(found) > limit:
            found.pop()
            self._next = _encode([getattr(found[-1], key)])
        return found

    def next_link(self, request: Request) -> str | None:
        if self._next is None:
            return None
        return replace_query_param(request.build_absolute_uri(), "cursor", self._next)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {
            "type": ["string", "null"],
            "format": "uri",
            "description": "The next page; null on the last.",
        }
        return {
            "type": "object",
            "required": ["next", "results"],
            "properties": {"next": link, "results": schema},
        }


def _after(rows: QuerySet[Any], ordering: Sequence[str], values: list[Any]) -> Q:
    """(a, b) beyond (x, y): a beyond x, or a equal and b beyond. The bound on a alone lets an index be used."""
    if len(values) != len(ordering):
        raise _bad()
    beyond = "lt" if ordering[0].startswith("-") else "gt"
    names = [name.lstrip("-") for name in ordering]
    read = [_value(rows, name, value) for name, value in zip(names, values, strict=True)]
    condition = Q()
    for index, name in enumerate(names):
        equal = dict(zip(names[:index], read[:index], strict=True))
        condition |= Q(**equal, **{f"{name}__{beyond}": read[index]})
    return Q(**{f"{names[0]}__{beyond}e": read[0]}) & condition


def _value(rows: QuerySet[Any], name: str, value: Any) -> Any:
    """A value of the cursor as its column holds it."""
    if not isinstance(value, str | int) or (isinstance(value, int) and abs(value) > _BIGGEST):
        raise _bad()
    try:
        field: Any = rows.model._meta.get_field(name.removesuffix("_id") if name.endswith("_id") else name)
        field = field.target_field if field.is_relation else field
        assert isinstance(field, Field)
        found = field.to_python(value)
    except (BadValue, ValueError, TypeError, OverflowError, FieldDoesNotExist) as error:
        raise _bad() from error
    if found is None:
        raise _bad()
    return found


def _number(values: list[Any]) -> int:
    if len(values) != 1 or type(values[0]) is not int or abs(values[0]) > _BIGGEST:
        raise _bad()
    return values[0]


def _encode(values: list[Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")


def _decode(cursor: str) -> list[Any]:
    try:
        values = orjson.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error) as error:
        raise _bad() from error
    if not isinstance(values, list):
        raise _bad()
    return values


def _bad() -> ValidationError:
    return ValidationError({"cursor": _("Copy the cursor from “next” as it is.")})
