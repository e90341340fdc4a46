"""simulate_shop: write the files of a shop whose truth is known."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segmentation.simulator import SimulationConfig, SimulationError, SimulationReport, simulate


class Command(BaseCommand):
    help = (
        "Simulate a shop: events, customers, the truth behind them and the 90 days that follow, as Parquet."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--customers", type=int, default=20_000, metavar="N", help="default: 20000")
        parser.add_argument(
            "--months", type=int, default=24, metavar="M", help="length of the history; default: 24"
        )
        parser.add_argument("--seed", type=int, default=1, metavar="S", help="default: 1")
        parser.add_argument("--end", metavar="DATE", help="first day after the history; default: today (UTC)")
        parser.add_argument("--out", type=Path, metavar="DIR", help="default: simulated/ in the data folder")
        parser.add_argument("--currency", default="GBP", help="ISO 4217 code; default: GBP")
        parser.add_argument(
            "--sequence-signal",
            action="store_true",
            default=True,
            dest="sequence_signal",
            help="the order of browsing steps tells what comes next (default)",
        )
        parser.add_argument(
            "--campaign",
            action="store_true",
            help="also play a campaign on the day of the end, with a holdout and logged chances",
        )
        parser.add_argument(
            "--no-sequence-signal",
            action="store_false",
            dest="sequence_signal",
            help="the order of browsing steps tells nothing",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        out = options["out"] or settings.VAR_DIR / "simulated"
        try:
            config = SimulationConfig(
                customers=options["customers"],
                months=options["months"],
                seed=options["seed"],
                end=_day(options["end"]),
                currency=options["currency"].upper(),
                sequence_signal=options["sequence_signal"],
                campaign=options["campaign"],
            )
            with _progress_bar(config.customers) as advance:
                report = simulate(config, out, advance)
        except SimulationError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(_summary(report))
        if report.campaign is not None:
            self.stdout.write(_campaign(report))


def _day(text: str | None) -> date:
    if text is None:
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CommandError(
            _("--end must be a date such as 2026-01-31, not “%(text)s”.") % {"text": text}
        ) from None


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal's error stream; nothing where that is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(_("Simulating customers"), total=total)
        yield lambda done, _total: progress.update(task, completed=done)


def _summary(report: SimulationReport) -> str:
    return _(
        "Simulated %(customers)s customers with %(orders)s orders in %(lines)s event lines "
        "(90-day churn %(churn)s, ordered once %(once)s) in %(seconds).1f s → %(folder)s"
    ) % {
        "customers": f"{report.customer_count:,}",
        "orders": f"{report.order_count:,}",
        "lines": f"{report.event_lines:,}",
        "churn": _share(report.churn_share),
        "once": _share(report.one_time_share),
        "seconds": report.seconds,
        "folder": report.folder,
    }


def _campaign(report: SimulationReport) -> str:
    """What its holdout measures, beside what only the simulator knows."""
    import polars as pl

    from segmentation.simulator import measured

    assert report.campaign is not None
    log = pl.read_parquet(report.campaign)
    found = measured.of_files(log, pl.read_parquet(report.responses))
    return _(
        "The campaign reached %(given)s of %(all)s customers; measured against its holdout it made %(value)s more of them "
        "order (%(low)s to %(high)s), in truth %(truth)s."
    ) % {
        "given": f"{log.filter(~pl.col('held_out')).height:,}",
        "all": f"{log.height:,}",
        **{name: f"{getattr(found, name):+.1%}" for name in ("value", "low", "high", "truth")},
    }


def _share(value: float | None) -> str:
    return _("not known") if value is None else f"{value:.0%}"
