"""Bring files in: lines a second and memory, on an empty database of its own, beside a bare COPY of the same rows.

    python -m benchmarks.imports [--file orders.parquet --preset online-retail] [--lines 20000000] [--sqlite]

Without a file it is the real one of TIERWISE_DATA where that is set, else a simulated shop; --lines makes a
simulated file of that many lines, to see that memory does not grow with it.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import data, report, seed, setup
from benchmarks.used import Memory, Used

LINES_A_SECOND = 60_000
MIB = 600.0
REAL = Path("online_retail_ii") / "online_retail_ii.parquet"
FIRST_CUSTOMERS = 20_000


def main() -> None:
    options = _options()
    file, preset = _file(options)
    url = data.empty(sqlite=options.sqlite)
    setup.use(url)
    try:
        result = measure(file, preset, floor=not options.no_floor)
        report.show(result, lines(result))
    finally:
        from django.db import connections

        connections.close_all()
        data.drop(url)


def measure(file: Path, preset: str, *, floor: bool) -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import connection

    from segmentation import imports
    from segmentation.imports.presets import events

    call_command("migrate", verbosity=0, interactive=False)
    said = events(preset)
    adopt(said.currency, said.time_zone)
    with Memory() as memory:
        used, started = Used.now(), perf_counter()
        done = imports.run(imports.Request(file, preset=preset))
        seconds, processor = perf_counter() - started, used.since()
    result: dict[str, Any] = {
        "benchmark": "import",
        "database": connection.vendor,
        "file": file.name,
        "report": done.sentence(),
        "lines": _lines_read(),
        "seconds": seconds,
        "rss_mib": memory.peak,
        **processor,
        "rss_by_tenth_mib": memory.by_tenth(),
    }
    if floor:
        result["floor"] = _floor()
        result["ratio"] = seconds / result["floor"]
    return result


def lines(result: dict[str, Any]) -> list[str]:
    speed = result["lines"] / result["seconds"]
    ratio = f"ratio to a bare COPY of the rows {result['ratio']:.2f} · " if "ratio" in result else ""
    tenths = " ".join(f"{value:.0f}" for value in result["rss_by_tenth_mib"])
    return [
        f"import of {result['lines']:,} lines of {result['file']}, {result['database']}: {ratio}"
        f"{speed:,.0f} lines/s (target {LINES_A_SECOND:,}) · {result['seconds']:.1f} s · "
        f"peak {result['rss_mib']:.0f} MiB (target {MIB:.0f})",
        f"  processor seconds {result['cpu'] + result['server_cpu']:.1f} (database {result['server_cpu']:.1f}) · "
        f"MiB by tenth of the time: {tenths} · load {report.machine()['load'][0]}",
    ]


def _lines_read() -> int:
    from segmentation.models import ImportRun

    return ImportRun.objects.latest("pk").rows_read


def adopt(currency: str, time_zone: str) -> None:
    """Let the shop count in the file's currency and by its clock."""
    from segmentation.models import Shop

    shop = Shop.get()
    shop.base_currency, shop.time_zone = currency or shop.base_currency, time_zone or shop.time_zone
    shop.save()


def _floor() -> float:
    """Seconds to bring the rows that the import made into tables of the same make, indexes in place."""
    from benchmarks.copies import into_twin
    from segmentation.models import Customer, CustomerIdentity, Event, EventItem, Product

    return sum(into_twin(model) for model in (Customer, CustomerIdentity, Product, Event, EventItem))


def _file(options: argparse.Namespace) -> tuple[Path, str]:
    if options.file:
        return options.file, options.preset
    if options.lines is None and (found := real()):
        return found
    if options.lines is None:
        return seed.simulated(FIRST_CUSTOMERS) / "events.parquet", "tierwise"
    return repeated(options.lines), "tierwise"


def real() -> tuple[Path, str] | None:
    """The real file of a million lines and its preset, where TIERWISE_DATA is set."""
    path = Path(os.environ.get("TIERWISE_DATA", "")) / REAL
    return (path, "online-retail") if os.environ.get("TIERWISE_DATA") and path.exists() else None


def repeated(count: int) -> Path:
    """A file of at least so many simulated lines: the shop's lines again and again, under other customers and ids."""
    import polars as pl
    import pyarrow.parquet as pq

    path = setup.folder() / f"lines-{count}.parquet"
    if path.exists():
        return path
    source = pq.ParquetFile(seed.simulated(FIRST_CUSTOMERS) / "events.parquet")
    growing, written, turn = path.with_suffix(".part"), 0, 0
    with pq.ParquetWriter(growing, source.schema_arrow) as writer:
        while written < count:
            for batch in source.iter_batches(batch_size=200_000):
                frame = pl.DataFrame(batch)
                named = [
                    pl.concat_str(pl.col(name), pl.lit(f"-{turn}")) for name in IDS if name in frame.columns
                ]
                table = frame.with_columns(named).to_arrow(compat_level=pl.CompatLevel.oldest())
                writer.write_table(table.cast(source.schema_arrow))
                written += frame.height
            turn += 1
    growing.rename(path)
    return path


IDS = ("event_id", "customer_id", "order_id", "visitor_id", "anonymous_id")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path)
    parser.add_argument("--preset", default="tierwise")
    parser.add_argument("--lines", type=int, default=None)
    parser.add_argument("--sqlite", action="store_true", help="default: PostgreSQL on BENCH_SERVER")
    parser.add_argument("--no-floor", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
