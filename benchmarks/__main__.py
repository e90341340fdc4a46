"""`make bench`: a shop of a size, classified and looked at from all sides; each figure beside its target or floor.

    python -m benchmarks [--customers 50000] [--only batch due segments pages webhooks latency decisions imports]

On PostgreSQL where BENCH_SERVER names a server on which databases may be made, and on SQLite up to 50,000 customers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from benchmarks import report, seed, setup

SQLITE_MOST = 50_000
PARTS = ("batch", "due", "segments", "pages", "webhooks", "latency", "decisions", "imports")
# Parts with a command of their own; the others share one shop.
ALONE = {"decisions", "imports"}


def main() -> None:
    options = _options()
    if options.fresh:
        seed.forget()
    for sqlite in [False] * bool(setup.SERVER) + [True] * (options.customers <= SQLITE_MOST):
        where = ["--sqlite"] if sqlite else []
        print(f"\n== {'SQLite' if sqlite else 'PostgreSQL'}, {options.customers:,} customers")
        if shared := [part for part in options.only if part not in ALONE]:
            _run("benchmarks.shop", "--customers", str(options.customers), "--only", *shared, *where)
        if "decisions" in options.only and not sqlite:
            _run("benchmarks.decisions", "--customers", str(options.customers))
        if "imports" in options.only:
            _run("benchmarks.imports", *where)
    print(f"\nload {report.machine()['load']} on {os.cpu_count()} processors")
    if not setup.SERVER:
        print("PostgreSQL was left out: name a server in BENCH_SERVER, as postgres://user:password@host:5432")


def _run(module: str, *arguments: str) -> None:
    finished = subprocess.run([sys.executable, "-m", module, *arguments])
    if finished.returncode:
        print(f"{module} ended with code {finished.returncode}; the rest goes on.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--fresh", action="store_true", help="simulate and train the seed anew")
    return parser.parse_args()


if __name__ == "__main__":
    main()
