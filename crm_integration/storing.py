"""The one statement that stores a message: once under its key, and only while its connection is what it was."""

# Names in the statement come from our own models; values are always parameters.

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.db import connection as database
from django.db.models import Field, QuerySet, TextField
from django.db.models.functions import Cast, JSONArray

from crm_integration.models import Connection, InboundMessage

# All that decides whether a message is taken, and how it is verified.
DECISIVE = (
    "id", "slug", "adapter", "is_active", "accepts_inbound", "inbound_secret", "inbound_secret_previous",
    "previous_secret_until", "options",
)  # fmt: skip
GIVEN = ("connection", "dedupe_key", "topic", "body", "body_sha256", "received_at", "headers")


def stamped(rows: QuerySet[Connection]) -> QuerySet[Connection]:
    """With `stamp`: a text that differs whenever anything decisive differs. The secrets in it are encrypted."""
    return rows.annotate(stamp=Cast(JSONArray(*DECISIVE), TextField()))


def store_once(given: Mapping[str, Any], *, stamp: str | None = None) -> int | None:
    """The id of a new message; None when its key is known. One statement, which commits by itself.

    given: the fields of GIVEN, `connection` by its id. stamp: None is answered, too, when the connection is not what
    it was under this stamp.
    """
    statement, fields, defaults = _statement(database.vendor, stamp is not None)
    values = [field.get_db_prep_save(given[field.name], database) for field in fields]
    condition = [] if stamp is None else [given["connection"], stamp]
    with database.cursor() as cursor:
        cursor.execute(statement, [*values, *defaults, *condition])
        # To the end: SQLite commits when the last row was read.
        stored = cursor.fetchall()
    return int(stored[0][0]) if stored else None


@lru_cache(maxsize=4)
def _statement(vendor: str, has_stamp: bool) -> tuple[str, list[Field[Any, Any]], list[Any]]:
    """The text with the fields of its first values and the values that follow them. vendor: each has its own."""
    by_name: dict[str, Field[Any, Any]] = {
        field.name: field for field in InboundMessage._meta.concrete_fields
    }
    fields = [by_name[name] for name in GIVEN]
    others = [
        field
        for field in InboundMessage._meta.concrete_fields
        if field not in fields and not field.primary_key and not field.has_db_default()
    ]
    quote = database.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in [*fields, *others])
    marks = ", ".join(["%s"] * (len(fields) + len(others)))
    rows = f"SELECT {marks} WHERE EXISTS ({_condition()})" if has_stamp else f"VALUES ({marks})"
    defaults = [field.get_db_prep_save(field.get_default(), database) for field in others]
    return (
        f"INSERT INTO {quote(InboundMessage._meta.db_table)} ({columns}) {rows}"
        f" ON CONFLICT ({quote('connection_id')}, {quote('dedupe_key')}) DO NOTHING RETURNING {quote('id')}",
        fields,
        defaults,
    )


def _condition() -> str:
    """Whether the connection of an id still has a stamp."""
    rows: QuerySet[Any] = stamped(Connection.objects.filter(pk=0))
    rows = rows.filter(stamp="").order_by().values("pk")
    return str(rows.query.sql_with_params()[0])
