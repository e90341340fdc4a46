"""Processes beside the test, on the test's own database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings as django_settings
from django.db import connection as database


@contextmanager
def worker(code: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own, killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "DATABASE_URL": _address(), "TIERWISE_VAR": str(django_settings.VAR_DIR)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _address() -> str:
    settings = database.settings_dict
    if database.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    password = f":{settings['PASSWORD']}" if settings["PASSWORD"] else ""
    return f"postgres://{settings['USER']}{password}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"
