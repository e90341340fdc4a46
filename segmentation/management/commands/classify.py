"""`classify`: score, segment and decide for everybody, in workers or here."""

from __future__ import annotations

import time
from datetime import date
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from segmentation import scoring_runs
from segmentation.models import ScoringRun

POLL_SECONDS = 0.5


class Command(BaseCommand):
    help = "Classify every customer: scores, segments, offers and service priorities."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--as-of", type=date.fromisoformat, metavar="DATE", help="default: the end of the shop's today"
        )
        parser.add_argument("--inline", action="store_true", help="do it here and now, beside any workers")
        parser.add_argument("--wait", action="store_true", help="wait until the workers have finished it")

    def handle(self, *args: Any, **options: Any) -> None:
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


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        console=Console(stderr=True),
    )  # fmt: skip
