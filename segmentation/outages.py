"""A database that goes away under the work, or has no room for it: nothing the work did, and mostly over soon."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from time import monotonic, sleep
from typing import Final

import psycopg
from django.db import Error, connection

# The wait before the next attempt, times the claims so far up to a limit.
PAUSE: Final = timedelta(seconds=2)
LONGEST_PAUSE: Final = timedelta(seconds=10)
# Whoever was claimed so often may be what brings the database down: from then on its attempts count.
CLAIMS: Final = 60
LOOK_AGAIN: Final = 1.0
# SQLSTATE classes of a connection that failed and of a server that ends or starts, whose last words may come before the
# end of the session is noticed, and of a full disk (https://www.postgresql.org/docs/current/errcodes-appendix.html).
GOING: Final = ("08", "57P", "53100")


def is_lost(error: BaseException) -> bool:
    """Whether PostgreSQL was gone or full when this was raised: it said so, or the session is over. Never of SQLite.

    To be asked right after, before anything else is asked of the database, and outside a transaction.
    """
    told = error.__cause__
    if not isinstance(error, Error) or not isinstance(told, psycopg.Error):
        return False
    session = connection.connection
    return (told.sqlstate or "").startswith(GOING) or session is None or bool(session.closed)


def once_it_is_back(write: Callable[[], None], *, within: timedelta) -> None:
    """Write as soon as the database answers again; raises what it says when that takes too long."""
    until = monotonic() + within.total_seconds()
    while True:
        connection.close()
        try:
            return write()
        except Error as error:
            if monotonic() >= until or not is_lost(error):
                raise
        sleep(LOOK_AGAIN)


def pause(claims: int) -> timedelta:
    """Before the next attempt at what was claimed so often."""
    return min(PAUSE * claims, LONGEST_PAUSE)
