"""`target`: what is predicted. Installs the usual targets, or makes one of your own."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from segmentation import targets
from segmentation.models import Target


class Command(BaseCommand):
    help = "List targets, install the usual ones, or make one: target NAME --kind churn --horizon 30."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", help="short name of the target; without it all are listed")
        parser.add_argument("--kind", choices=Target.Kind.values, help="what is predicted")
        parser.add_argument("--attribute", help="for a category: the column that holds the labels")
        parser.add_argument(
            "--horizon", type=int, default=targets.HORIZON_DAYS, help="days ahead (default 90)"
        )
        parser.add_argument("--title", default="", help="name that staff see")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["name"] is None:
            targets.install()
        else:
            try:
                targets.make(
                    options["name"],
                    kind=options["kind"] or "",
                    horizon_days=options["horizon"],
                    attribute=options["attribute"] or "",
                    title=options["title"],
                )
            except targets.TargetError as error:
                raise CommandError(str(error)) from error
        for target in targets.active():
            self.stdout.write(f"{target.slug}: {targets.definition(target)}")
