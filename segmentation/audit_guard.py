"""The database itself keeps audit entries as they were written, whoever asks: a trigger refuses to change or delete one.

One door stays: the words of an erased person leave the details of their entries. It opens by a row that names the
object whose entries are meant, inside a transaction that takes the row away again, so nobody else ever sees it open.
Put up after every `migrate`, because SQLite drops a table's triggers when a migration rebuilds the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

TABLE = "segmentation_auditentry"
OPENINGS = "segmentation_auditopening"
REFUSAL = "audit entries are append-only"
NAMES = {
    "sqlite": ("audit_is_not_changed", "audit_is_not_deleted", "audit_is_not_replaced"),
    "postgresql": ("audit_is_kept", "audit_is_not_emptied"),
}
_KEPT = ("id", "actor_id", "action", "object_type", "object_id", "at")
_SAME = {
    "sqlite": " AND ".join(f"OLD.{name} IS NEW.{name}" for name in _KEPT),
    "postgresql": " AND ".join(f"OLD.{name} IS NOT DISTINCT FROM NEW.{name}" for name in _KEPT),
}
_OPEN = (
    f"EXISTS (SELECT 1 FROM {OPENINGS} AS opening "  # noqa: S608  # names of ours alone
    "WHERE opening.object_type = OLD.object_type AND opening.object_id = OLD.object_id)"
)
_STATEMENTS = {
    "sqlite": (
        f"CREATE TRIGGER IF NOT EXISTS audit_is_not_changed BEFORE UPDATE ON {TABLE} "
        f"WHEN NOT ({_SAME['sqlite']} AND {_OPEN}) BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
        f"CREATE TRIGGER IF NOT EXISTS audit_is_not_deleted BEFORE DELETE ON {TABLE} "
        f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
        # INSERT OR REPLACE deletes a row without the trigger above.
        f"CREATE TRIGGER IF NOT EXISTS audit_is_not_replaced BEFORE INSERT ON {TABLE} "  # noqa: S608
        f"WHEN EXISTS (SELECT 1 FROM {TABLE} WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION tierwise_keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'UPDATE' THEN IF {_SAME['postgresql']} AND {_OPEN} THEN RETURN NEW; END IF; END IF; "
        f"RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'restrict_violation'; END $$",
        f"CREATE TRIGGER audit_is_kept BEFORE UPDATE OR DELETE ON {TABLE} "
        "FOR EACH ROW EXECUTE FUNCTION tierwise_keep_audit()",
        f"CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON {TABLE} "
        "FOR EACH STATEMENT EXECUTE FUNCTION tierwise_keep_audit()",
    ),
}
_STANDING = {
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s AND name IN (%s, %s, %s)",
    "postgresql": "SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND tgname IN (%s, %s) "
    "AND tgenabled <> 'D'",
}


def put_up(*, using: str, **_signal: Any) -> None:
    """After `migrate` (and after `flush`). Does nothing where the guard stands, or the tables do not exist yet."""
    connection = connections[using]
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        if TABLE not in tables or OPENINGS not in tables or stands(connection, cursor):
            return
        for statement in [*taking_down(connection.vendor), *_STATEMENTS[connection.vendor]]:
            cursor.execute(statement)


def stands(connection: BaseDatabaseWrapper, cursor: CursorWrapper) -> bool:
    cursor.execute(_STANDING[connection.vendor], [TABLE, *NAMES[connection.vendor]])
    return bool(cursor.fetchone()[0] == len(NAMES[connection.vendor]))


def taking_down(vendor: str) -> list[str]:
    """For tests that empty the whole database between them."""
    on_table = f" ON {TABLE}" if vendor == "postgresql" else ""
    return [f"DROP TRIGGER IF EXISTS {name}{on_table}" for name in NAMES[vendor]]


@contextmanager
def opened(object_type: str, object_ids: list[str]) -> Iterator[None]:
    """In one transaction, the details of these objects' entries may be rewritten; nothing else of them."""
    from segmentation.models import AuditOpening

    with transaction.atomic():
        rows = AuditOpening.objects.bulk_create(
            AuditOpening(object_type=object_type, object_id=one) for one in object_ids
        )
        yield
        AuditOpening.objects.filter(pk__in=[row.pk for row in rows]).delete()
