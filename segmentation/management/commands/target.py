"""`target`: what is predicted. Installs the usual targets, or makes one of your own."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from segmentation import targets
from segmentation.models import Target


class Command(BaseCommand):
    help = "List targets, install the usual ones, or make one: target NAME --kind churn --horizon 30."
    # Each option of a kind, with its name in target_settings.check.
    options = {
        "--tiers": ("tier_count", int, "value tier: how many tiers of equal size (default 3)"),
        "--borders": ("borders", str, "value tier: the amounts at which it is cut, such as 100,500"),
        "--days": ("days", str, "next order: within how many days, such as 7,30,90"),
        "--positive": ("positive", str, "risk: the labels that are the risk, such as fraud,abuse"),
        "--trusted": ("trusted", str, "labels: columns that may tell the label by themselves, such as a,b"),
        "--method": ("method", str, "risk: labelled or anomaly; clusters: auto, kmeans, ward or mixture"),
        "--count": ("count", int, "clusters: how many; 0 lets the data say"),
    }

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", help="short name of the target; without it all are listed")
        parser.add_argument("--kind", choices=Target.Kind.values, help="what is predicted")
        parser.add_argument("--attribute", help="for a category or a risk: the column that holds the labels")
        parser.add_argument("--campaign", default="", help="for an uplift: the campaign whose effect it is")
        parser.add_argument("--offer", default="", help="for an uplift: the offer, in whatever campaign")
        parser.add_argument(
            "--horizon", type=int, default=targets.HORIZON_DAYS, help="days ahead (default 90)"
        )
        parser.add_argument("--title", default="", help="name that staff see")
        for flag, (name, kind, words) in self.options.items():
            parser.add_argument(flag, dest=name, type=kind, default=None, help=words)

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
                    campaign=options["campaign"],
                    offer=options["offer"],
                    options={name: options[name] for name, *_rest in self.options.values()},
                )
            except targets.TargetError as error:
                raise CommandError(str(error)) from error
        for target in targets.active():
            self.stdout.write(f"{target.slug}: {targets.definition(target)}")
