"""Read pictures of products from a folder, for “products bought next” by likeness."""

from __future__ import annotations

import csv
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from segmentation import product_images


class Command(BaseCommand):
    help = "Turn pictures of products into vectors (IMAGE_ENCODER); files are named like the product's id."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument(
            "--names", type=Path, help="CSV with the columns product and path, inside the folder"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            named = _named(options["names"]) if options["names"] else None
            report = product_images.read_folder(options["folder"], named=named)
        except (product_images.PictureProblem, OSError) as error:
            raise CommandError(str(error)) from error
        for file, why in report.refused.items():
            self.stderr.write(f"{file}: {why}")
        self.stdout.write(
            f"{report.products} products: {report.encoded} pictures worked out, {report.known} known already, "
            f"{len(report.refused)} refused."
        )


def _named(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"product", "path"} <= set(reader.fieldnames or ()):
            raise CommandError(f"{path} needs the columns product and path in its first line.")
        return {row["product"]: row["path"] for row in reader if row["product"] and row["path"]}
