"""Before and after of an edit, as an audit entry keeps it: settings by value, secrets and words about people by name."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

from django.db import models
from django.db.models.fields.files import FieldFile

from segmentation.crypto import EncryptedTextField

# Longer values are told by their beginning; rules have versions of their own.
MOST_CHARS: Final = 400
# Bookkeeping of the row itself.
_SILENT: Final = frozenset({"id", "edit_version", "created_at", "updated_at", "last_login"})
# Names, contact data, passwords, free words about a person, addresses that may carry a token.
_HIDDEN: Final = {
    "auth.user": frozenset({"username", "first_name", "last_name", "email", "password"}),
    "segmentation.suppression": frozenset({"reason", "note"}),
    "segmentation.customer": frozenset({"reference", "holdout_key"}),
    # A choice may be what only one customer ever had; it goes with them (privacy/traces.py).
    "segmentation.attributedefinition": frozenset({"choices"}),
    "crm_integration.connection": frozenset({"outbound_url", "options"}),
    "crm_integration.apitoken": frozenset({"secret_sha256", "prefix"}),
}

Values = dict[str, Any]


def stored(obj: models.Model) -> Values:
    """The row as the database has it now, by column; empty when it has none. One query."""
    if obj.pk is None:
        return {}
    names = [field.attname for field in obj._meta.concrete_fields if field.name not in _SILENT]
    return type(obj)._base_manager.filter(pk=obj.pk).values(*names).first() or {}


def difference(model: type[models.Model], before: Values, after: Values) -> dict[str, Any]:
    """`fields` that changed, with `before` and `after` of those that may be told. Empty when nothing changed."""
    shown = {field.attname: field for field in model._meta.concrete_fields}
    changed = sorted(
        name
        for name in {*before, *after}
        if name in shown and before.get(name, _unset(shown[name])) != after.get(name, _unset(shown[name]))
    )
    if not changed:
        return {}
    told = [name for name in changed if is_told(model, shown[name])]
    detail: dict[str, Any] = {"fields": [shown[name].name for name in changed]}
    if told and before:
        detail["before"] = {shown[name].name: plain(before.get(name)) for name in told}
    if told and after:
        detail["after"] = {shown[name].name: plain(after.get(name)) for name in told}
    return detail


def chosen(rows: Any) -> list[Any]:
    """Rows of a many-to-many field, by id."""
    return sorted(getattr(row, "pk", row) for row in rows or [])


def is_told(model: type[models.Model], field: models.Field) -> bool:
    secret = isinstance(field, EncryptedTextField | models.BinaryField)
    return not secret and field.name not in _HIDDEN.get(model._meta.label_lower, frozenset())


def plain(value: Any) -> Any:
    """As JSON keeps it; what is long by its beginning."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | FieldFile):
        return str(value)
    if isinstance(value, dict | list) and len(str(value)) <= MOST_CHARS:
        return value
    text = str(value)
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]}…"


def _unset(field: models.Field) -> Any:
    """What a row that does not exist would hold, so that a new row tells only what differs from it."""
    return field.get_default() if field.has_default() or field.empty_strings_allowed else None
