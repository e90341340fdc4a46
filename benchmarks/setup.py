"""Where benchmarks run: databases of their own, never the installation's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# A PostgreSQL server on which databases may be made and dropped; without one the benchmarks use SQLite alone.
SERVER = os.environ.get("BENCH_SERVER", "").rstrip("/")

BROKER = os.environ.get("BENCH_BROKER", "")


def use(url: str) -> None:
    """Let Django work on this database, here and in processes started from here. Before the first Django import."""
    os.environ.update(environment(url))
    import django

    django.setup()


def environment(url: str) -> dict[str, str]:
    return {
        "DATABASE_URL": url,
        # A broker of its own does not fit SQLite, which stands for the way without any server.
        "CELERY_BROKER_URL": BROKER if BROKER and not url.startswith("sqlite") else "embedded://",
        "CELERY_QUEUE_PREFIX": f"bench-{os.getpid()}-",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
    }


def run(module: str, *arguments: str, url: str) -> None:
    """Run a benchmark module to its end in a process of its own, on that database."""
    subprocess.run(
        [sys.executable, "-m", module, *arguments], check=True, env={**os.environ, **environment(url)}
    )


def folder() -> Path:
    """Data, models and results that later benchmarks reuse."""
    place = Path(os.environ.get("TIERWISE_VAR", "var")) / "benchmarks"
    place.mkdir(parents=True, exist_ok=True)
    return place.resolve()


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"
