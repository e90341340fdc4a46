"""`classify`: score, segment and decide for everybody, in workers or here."""

from __future__ import annotations

import os
import time
from datetime import date
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from segmentation import run_plan, scoring_runs
from segmentation.models import Customer, ScoringRun

POLL_SECONDS = 0.5


class Command(BaseCommand):
    help = "Classify every customer: scores, segments, offers and service priorities."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--as-of", type=date.fromisoformat, metavar="DATE", help="default: the end of the shop's today"
        )
        parser.add_argument("--inline", action="store_true", help="do it here and now, beside any workers")
        parser.add_argument("--wait", action="store_true", help="wait until the workers have finished it")
        parser.add_argument(
            "--plan", action="store_true", help="only say what it would take here; changes nothing"
        )
        parser.add_argument(
            "--customers", type=int, metavar="N", help="plan for so many; default: all there are"
        )
        parser.add_argument(
            "--workers", type=int, default=2, metavar="W", help="plan for so many; default: 2"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["plan"]:
            self._plan(options["customers"], options["workers"])
            return
        try:
            run = scoring_runs.start(options["as_of"])
        except scoring_runs.ScoringError as error:
            raise CommandError(str(error)) from error
        if not (options["inline"] or options["wait"]):
            self.stdout.write(
                f"Classification {run.pk} waits for workers. Follow it in the admin or with --wait."
            )
            return
        with _bar() as bar:
            task = bar.add_task(f"Classifying {run.customers:,} customers", total=1.0)
            while run.state == ScoringRun.State.RUNNING:
                if not (options["inline"] and _one_shard(run)):
                    time.sleep(POLL_SECONDS if not options["inline"] else 0.05)
                run.refresh_from_db()
                bar.update(task, completed=scoring_runs.progress(run))
        self._conclude(run)

    def _plan(self, customers: int | None, workers: int) -> None:
        if workers < 1 or (customers is not None and customers < 1):
            raise CommandError("--customers and --workers must be 1 or more.")
        try:
            sample = run_plan.measure(on_decided=import_string(settings.ON_DECIDED))
        except run_plan.NothingToMeasure:
            self.stdout.write(
                "There are no customers yet, so there is nothing to measure. Import some first."
            )
            return
        wanted = customers or Customer.objects.filter(merged_into=None).count()
        expected = run_plan.estimate(sample, customers=wanted, workers=workers)
        self.stdout.write(
            f"{wanted:,} customers with {workers} {'worker' if workers == 1 else 'workers'}: "
            f"{_duration(expected.low)} to {_duration(expected.high)}."
        )
        whole = sum(expected.stages.values())
        for name, seconds in sorted(expected.stages.items(), key=lambda item: -item[1]):
            self.stdout.write(f"  {name:<12} {seconds:>10,.1f} s {seconds / whole:>5.0%}")
        self.stdout.write(
            f"Measured now on {sample.customers:,} customers with {sample.events:,} events, in {len(sample.seconds)} "
            f"parts whose results were not kept. Seconds are those of all workers together; “{run_plan.ONCE}” comes "
            f"once, before the first part. More workers than this machine's {os.cpu_count()} processors need more "
            "machines to help."
        )
        if last := run_plan.last_run():
            self.stdout.write(f"The last run classified {last[0]:,} customers in {_duration(last[1])}.")

    def _conclude(self, run: ScoringRun) -> None:
        if run.state != ScoringRun.State.DONE:
            raise CommandError(run.error or f"Classification {run.pk} was {run.get_state_display().lower()}.")
        for title in ("tiers", "segments", "offers", "priorities", "abstained"):
            counts = run.summary.get(title, {})
            words = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"
            self.stdout.write(f"{title.capitalize()}: {words}")


def _one_shard(run: ScoringRun) -> bool:
    """Walk one waiting shard here; what is decided goes out as it does from a worker."""
    shard = scoring_runs.claim_shard(run.pk)
    if shard is None:
        scoring_runs.finish(run.pk)
        return False
    scoring_runs.run_shard(shard, on_decided=import_string(settings.ON_DECIDED))
    return True


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:,.1f} s"
    return f"{seconds / 60:,.1f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        console=Console(stderr=True),
    )  # fmt: skip
