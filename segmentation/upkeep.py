"""What PostgreSQL has to be told of tables that change faster than autovacuum looks at them.

Without statistics the planner takes every row of a source for a handful and reads them all for each piece, so an
import would slow down as it goes. Without a visibility map an index-only scan visits the table for every row.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection, models

FIRST_ROWS = 500
GROWTH = 4  # times as many rows before the next look: estimates follow the size of a table by themselves
# Autovacuum gets round to smaller changes within a minute or two.
VACUUM_FROM_ROWS = 100_000


@dataclass
class Upkeep:
    tables: tuple[type[models.Model], ...]
    rows: int = 0
    next_look: int = FIRST_ROWS

    def changed(self, rows: int) -> None:
        """So many rows more were stored or deleted, and committed."""
        self.rows += rows
        if self.rows >= self.next_look:
            self.next_look = self.rows * GROWTH
            self._run("ANALYZE")

    def end(self) -> None:
        """After a large change everything is ready to be read, and room that became free is used again."""
        if self.rows >= VACUUM_FROM_ROWS and not connection.in_atomic_block:
            self._run("VACUUM (ANALYZE)")

    def _run(self, command: str) -> None:
        if connection.vendor == "postgresql":
            names = ", ".join(connection.ops.quote_name(model._meta.db_table) for model in self.tables)
            with connection.cursor() as cursor:
                cursor.execute(f"{command} {names}")
