"""A database that goes away under whoever is at work."""

from __future__ import annotations

import pytest
from django.db import connection

from segmentation import presence

postgresql = pytest.mark.skipif(
    "__import__('django.db').db.connection.vendor != 'postgresql'", reason="SQLite never goes away"
)


def lose_the_session() -> None:
    """What a server that stops, or a link that breaks, does: this process' session is gone, a new one works."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (number,) = cursor.fetchone()
    other = presence.own_connection()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [number])
    other.close()
