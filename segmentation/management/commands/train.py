"""`train`: learn the targets from the shop's events, in a worker or here."""

from __future__ import annotations

import time
from argparse import SUPPRESS
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from segmentation import leases, registry, reports, targets, training_runs
from segmentation.models import LeaseState, ModelVersion, TrainingRun

POLL_SECONDS = 1.0


class Command(BaseCommand):
    help = "Train the targets: baselines, a network and their blend, compared and promoted if better."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--targets", nargs="+", metavar="TARGET", help="short names; default: all active ones"
        )
        parser.add_argument("--preset", default="default", help="fast or default")
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument(
            "--as-of", type=date.fromisoformat, metavar="DATE", help="use only data before this day"
        )
        days = "learn as of these days; the last one is the test"
        parser.add_argument("--cutoffs", nargs="+", type=date.fromisoformat, metavar="DATE", help=days)
        parser.add_argument("--rounds", type=int, default=None, help=SUPPRESS)
        parser.add_argument("--inline", action="store_true", help="train here and now, without a worker")
        parser.add_argument("--wait", action="store_true", help="wait until a worker has finished it")

    def handle(self, *args: Any, **options: Any) -> None:
        targets.install()
        config = {} if options["rounds"] is None else {"rounds": options["rounds"]}
        try:
            run = training_runs.request(
                targets.active(options["targets"]),
                preset=options["preset"],
                seed=options["seed"],
                cutoffs=options["cutoffs"] or (),
                as_of=options["as_of"],
                config=config,
            )
        except (training_runs.TrainingError, targets.TargetError) as error:
            raise CommandError(str(error)) from error
        if options["inline"]:
            self._here(run)
        elif options["wait"]:
            self._follow(run)
        else:
            self.stdout.write(
                f"Training run {run.pk} is waiting for a worker. Follow it in the admin or with --wait."
            )
            return
        self._conclude(run)

    def _here(self, run: TrainingRun) -> None:
        from segmentation import training

        claimed = training_runs.claim(run.pk)
        if claimed is None:
            raise CommandError(f"A worker took training run {run.pk}. Follow it with --wait.")
        with _bar() as bar:
            task = bar.add_task("", total=1.0)

            def watch(fraction: float, note: str) -> None:
                bar.update(task, completed=fraction, description=note)

            try:
                with leases.kept([claimed]):
                    training.run(claimed, watch=watch)
            except KeyboardInterrupt:
                training_runs.cancel(claimed)
                raise

    def _follow(self, run: TrainingRun) -> None:
        with _bar() as bar:
            task = bar.add_task("", total=1.0)
            while not run.is_over:
                time.sleep(POLL_SECONDS)
                run.refresh_from_db()
                bar.update(task, completed=run.progress, description=run.progress_note)

    def _conclude(self, run: TrainingRun) -> None:
        run.refresh_from_db()
        if run.state != LeaseState.DONE:
            raise CommandError(run.error or f"Training run {run.pk} was {run.get_state_display().lower()}.")
        for version in ModelVersion.objects.filter(training_run=run, algorithm="blend").order_by("number"):
            self.stdout.write(f"Version {version.number} ({version.algorithm})")
            for line in reports.lines(version.evaluation):
                self.stdout.write(f"  {line}")
            for target in version.targets.order_by("slug"):
                self.stdout.write(f"  {target.name}: {registry.compare(target, version).reason}")


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        console=Console(stderr=True),
    )  # fmt: skip
