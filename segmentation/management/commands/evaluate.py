"""`evaluate`: how good are the models, on customers and days they have not seen, beside the baselines."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from segmentation import reports, targets
from segmentation.ml.schema import LearningError
from segmentation.training_runs import TrainingError


class Command(BaseCommand):
    help = "Backtest targets at past days: train on what was known before each, test on what came after."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("target", help="short name of a target, or all")
        days = "test as of these days, comma-separated; default: the latest possible"
        parser.add_argument("--origins", default="", metavar="DATES", help=days)
        learned = "learn as of these days, comma-separated; default: every 90 days before an origin"
        parser.add_argument("--cutoffs", default="", metavar="DATES", help=learned)
        folds = "test on each of this many parts of the customers in turn, instead of on later days"
        parser.add_argument("--folds", type=int, default=0, metavar="K", help=folds)
        parser.add_argument("--preset", default="default", help="fast or default")
        named = "algorithms by name, comma-separated, or all; default: the usual ones"
        parser.add_argument("--algorithm", default="", metavar="NAME[,NAME…]", help=named)
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--rounds", type=int, default=1000, help="bootstrap rounds behind the intervals")
        parser.add_argument(
            "--max-rows", type=int, default=1_000_000, help="learn from at most about this many rows"
        )
        parser.add_argument("--out", type=Path, metavar="FILE", help="write every figure as JSON")
        parser.add_argument(
            "--predictions", type=Path, metavar="FILE", help="write every prediction as Parquet"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        for name in ("out", "predictions"):
            if options[name] is not None and not options[name].parent.is_dir():
                raise CommandError(
                    f"The folder of --{name}, {options[name].parent}, does not exist. Make it first."
                )
        targets.install()
        try:
            self._evaluate(options)
        except (LearningError, TrainingError, targets.TargetError) as error:
            raise CommandError(str(error)) from error

    def _evaluate(self, options: dict[str, Any]) -> None:
        from segmentation import backtests, training
        from segmentation.ml.config import preset

        if options["folds"] and (options["folds"] < 2 or "," in options["origins"]):
            raise CommandError("Ask for 2 folds or more, and with folds for one origin at most.")
        wanted = targets.active(None if options["target"] == "all" else [options["target"]])
        if options["target"] == "all":
            wanted = [target for target in wanted if targets.is_evaluated(target)]
        families = training.families(wanted)
        results = []
        for family in families:
            with _bar() as bar:
                task = bar.add_task("Reading history", total=1.0)

                def watch(fraction: float, note: str, bar: Progress = bar, task: Any = task) -> None:
                    bar.update(task, completed=fraction, description=note)

                results.append(
                    backtests.run(
                        family,
                        origins=_dates(options["origins"]) or [backtests.latest_origin(family)],
                        cutoffs=_dates(options["cutoffs"]),
                        folds=options["folds"],
                        config=preset(options["preset"], seed=options["seed"]),
                        rounds=options["rounds"],
                        max_rows=options["max_rows"],
                        algorithms=[name for name in options["algorithm"].split(",") if name.strip()],
                        watch=watch,
                    )
                )
            self._print(results[-1].report)
        self._write(results, options)

    def _print(self, report: dict[str, Any]) -> None:
        for day, found in report["origins"].items():
            self.stdout.write(f"Tested as of {day}, learned as of {', '.join(found['data']['cutoffs'])}")
            for warning in found["data"].get("warnings", ()):
                self.stdout.write(f"  Warning: {warning}")
            for line in reports.lines(found["figures"], name=found["candidate"]):
                self.stdout.write(f"  {line}")
        if len(report["origins"]) > 1:
            self.stdout.write(f"Mean of {len(report['origins'])} {'folds' if report['folds'] else 'origins'}")
            for line in reports.pooled_lines(report["pooled"], name=report["candidate"]):
                self.stdout.write(f"  {line}")

    def _write(self, results: list[Any], options: dict[str, Any]) -> None:
        if options["out"] is not None:
            whole = [result.report for result in results]
            options["out"].write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        if options["predictions"] is not None:
            import polars as pl

            pl.concat([result.predictions for result in results], how="diagonal").write_parquet(
                options["predictions"]
            )


def _dates(text: str) -> list[date]:
    try:
        return [date.fromisoformat(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise CommandError(f"A day is written like 2011-09-10: {error}.") from error


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        console=Console(stderr=True),
    )  # fmt: skip
