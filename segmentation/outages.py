"""A database that goes away under the work: nothing the work did, and mostly over within seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import psycopg
from django.db import InterfaceError, OperationalError, connection

# The wait before the next attempt, times the claims so far up to a limit. Ten minutes of a database that comes and goes,
# or that goes down each time somebody works on the same row.
PAUSE: Final = timedelta(seconds=2)
LONGEST_PAUSE: Final = timedelta(seconds=10)
CLAIMS: Final = 60
# SQLSTATE classes of a connection that failed and of a server that ends, ended or starts
# (https://www.postgresql.org/docs/current/errcodes-appendix.html). The driver's own errors have none.
_LOST: Final = ("08", "57P")


def is_lost(error: BaseException) -> bool:
    """Whether PostgreSQL was gone when this was raised; if so the dead session is closed, so that the next one is new.

    SQLite never goes away. Not for use inside a transaction.
    """
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    told = error.__cause__
    if not isinstance(told, psycopg.Error) or not (told.sqlstate is None or told.sqlstate.startswith(_LOST)):
        return False
    connection.close_if_unusable_or_obsolete()
    return True


def pause(claims: int) -> timedelta:
    """Before the next attempt at what was claimed so often."""
    return min(PAUSE * claims, LONGEST_PAUSE)
