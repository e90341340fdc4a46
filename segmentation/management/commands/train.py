"""`train`: learn the targets from the shop's events, in a worker or here."""

from __future__ import annotations

import os
import time
from argparse import SUPPRESS
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from segmentation import comparisons, leases, promotion_policy, reports, targets, training_runs
from segmentation.ml import families
from segmentation.ml.config import PRESETS, settings_from_text
from segmentation.ml.schema import LearningError
from segmentation.models import LeaseState, ModelVersion, TrainingRun

POLL_SECONDS = 1.0
WITHOUT_LABELS = ("clusters", "anomaly", "next_products")


class Command(BaseCommand):
    help = "Train the targets: baselines, a network and their blend, compared and promoted if better."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--targets", nargs="+", metavar="TARGET", help="short names; default: all active ones"
        )
        parser.add_argument("--preset", default="default", help=", ".join(PRESETS))
        named = f"comma-separated: {', '.join(families.FAMILIES)}, or {families.ALL}; default: those of the preset"
        parser.add_argument("--algorithm", default="", metavar="NAME[,NAME…]", help=named)
        parser.add_argument(
            "--compare",
            action="store_true",
            help="show all algorithms of the run beside each other at the end",
        )
        parser.add_argument(
            "--search",
            type=int,
            default=0,
            metavar="TRIALS",
            help="try so many other settings of each network first",
        )
        chosen = "a setting of segmentation/ml/config.py, such as optimiser=sgd; may be repeated"
        parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=chosen)
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
        launched = "TORCHELASTIC_RUN_ID" in os.environ
        if launched and not options["inline"]:
            raise CommandError(_("torchrun is for a training here and now. Add --inline."))
        if launched and os.environ["RANK"] != "0":
            _follow_rank_0()
        else:
            self._train(options)

    def _train(self, options: dict[str, Any]) -> None:
        targets.install()
        try:
            config = settings_from_text(options["set"])
            if options["rounds"] is not None:
                config["rounds"] = options["rounds"]
            if options["search"]:
                config["search"] = options["search"]
            run = training_runs.request(
                targets.active(options["targets"]),
                preset=options["preset"],
                seed=options["seed"],
                cutoffs=options["cutoffs"] or (),
                as_of=options["as_of"],
                algorithms=[name for name in options["algorithm"].split(",") if name.strip()],
                config=config,
            )
        except (training_runs.TrainingError, targets.TargetError, LearningError) as error:
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
        if options["compare"]:
            self._compare(run)

    def _compare(self, run: TrainingRun) -> None:
        for target in run.targets.order_by("slug"):
            self.stdout.write(f"\n{target.name}")
            for line in comparisons.lines(run, target):
                self.stdout.write(f"  {line}")

    def _here(self, run: TrainingRun) -> None:
        from segmentation import training
        from segmentation.ml import torchrun

        claimed = training_runs.claim(run.pk)
        if claimed is None:
            raise CommandError(f"A worker took training run {run.pk}. Follow it with --wait.")
        with _bar() as bar:
            task = bar.add_task("", total=1.0)

            def watch(fraction: float, note: str) -> None:
                bar.update(task, completed=fraction, description=note)

            try:
                with leases.kept([claimed]), torchrun.led():
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
        candidates = [one["version"] for one in run.summary["versions"]]
        for version in ModelVersion.objects.filter(training_run=run, number__in=candidates).order_by(
            "number"
        ):
            self.stdout.write(f"Version {version.number} ({version.algorithm})")
            for line in reports.lines(version.evaluation, name=version.algorithm):
                self.stdout.write(f"  {line}")
            for target in version.targets.order_by("slug"):
                self.stdout.write(f"  {target.name}: {promotion_policy.compare(target, version).reason}")
        for slug, told in _without_figures(run):
            self.stdout.write(f"  {slug}: {told['reason']}")


def _follow_rank_0() -> None:
    """What torchrun started beside the training: it has no run and opens no database."""
    from segmentation.ml import torchrun

    torchrun.follow()


def _without_figures(run: TrainingRun) -> list[tuple[str, dict[str, Any]]]:
    """What became of the targets that have no blend: groups, anomalies, products."""
    made = run.versions.filter(algorithm__in=WITHOUT_LABELS).values_list("number", flat=True)
    numbers = set(made)
    return [
        (slug, told)
        for family in run.summary.get("versions", ())
        if family["version"] in numbers
        for slug, told in family["targets"].items()
    ]


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        console=Console(stderr=True),
    )  # fmt: skip
