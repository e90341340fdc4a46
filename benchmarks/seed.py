"""The seed: a small simulated shop, imported and trained through the product's own doors, kept for later runs.

Large shops are grown from it (benchmarks/data.py), so their customers behave as the simulator's do and the model
that classifies them was really trained. Run as a module it makes the seed in the database of the environment.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

from benchmarks import setup

CUSTOMERS = 20_000
MONTHS = 24
END = date(2026, 1, 1)
RANDOM_SEED = 1


def database() -> Path:
    """The seed as a SQLite file; made when there is none for the product's present features."""
    path = setup.folder() / f"seed-{key()}.sqlite3"
    if not path.exists():
        growing = path.with_suffix(".part")
        growing.unlink(missing_ok=True)
        setup.run("benchmarks.seed", url=setup.sqlite_url(growing))
        growing.rename(path)
    return path


@lru_cache(maxsize=1)
def key() -> str:
    """Changes with what features mean and with the tables. A changed learner needs `make bench FRESH=1`.

    Asked of another process: this one has not chosen its database yet.
    """
    program = (
        "import django; django.setup(); "
        "from segmentation.features.catalogue import CATALOGUE_VERSION as version; print(version)"
    )
    settings = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, env=settings, capture_output=True, text=True
    )
    migrations = Path(__file__).parent.parent / "segmentation" / "migrations"
    tables = hashlib.sha256("".join(sorted(path.name for path in migrations.glob("0*.py"))).encode())
    return answer.stdout.split()[-1][:4] + tables.hexdigest()[:4]


def forget() -> None:
    """The next benchmark simulates and trains anew, and grows its shops from that."""
    for path in setup.folder().glob("*.sqlite3"):
        path.unlink()


def make() -> None:
    from django.core.management import call_command
    from django.db import connection

    from segmentation import imports, starter
    from segmentation.models import ImportRun, Shop

    call_command("migrate", verbosity=0, interactive=False)
    shop = Shop.get()
    shop.frozen_on = END - timedelta(days=1)
    shop.save()
    files = simulated(CUSTOMERS)
    for kind, name in ((ImportRun.Kind.CUSTOMERS, "customers"), (ImportRun.Kind.EVENTS, "events")):
        imports.run(imports.Request(files / f"{name}.parquet", kind=kind, preset="tierwise"))
    starter.install()
    call_command("train", inline=True, seed=RANDOM_SEED)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def simulated(customers: int) -> Path:
    """The files of a simulated shop of that size; kept."""
    from segmentation import simulator

    folder = setup.folder() / f"shop-{customers}-{MONTHS}-{RANDOM_SEED}"
    if not (folder / "manifest.json").exists():
        config = simulator.SimulationConfig(customers=customers, months=MONTHS, seed=RANDOM_SEED, end=END)
        simulator.simulate(config, folder)
    return folder


if __name__ == "__main__":
    import django

    django.setup()
    make()
