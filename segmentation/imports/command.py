"""What the two import commands share: arguments, a progress bar, a preview, errors as one sentence."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from segmentation import imports, leases
from segmentation.imports import mapping as mappings
from segmentation.models import ImportRun

_WIDE = 200  # columns where no terminal says how wide it is


class ImportCommand(BaseCommand):
    kind: str
    presets: str

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="The file to import.")
        how = parser.add_mutually_exclusive_group(required=True)
        how.add_argument("--preset", default="", help=f"A known format: {self.presets}.")
        how.add_argument("--mapping", type=Path, help="A JSON file that says which column is which.")
        if self.kind == ImportRun.Kind.EVENTS:
            parser.add_argument("--currency", default="", help="Currency of the amounts, such as GBP.")
        parser.add_argument("--time-zone", default="", help="Time zone of times without one: Europe/London.")
        parser.add_argument("--source", default="", help="Name of the source; one source knows a fact once.")
        parser.add_argument("--rejects", type=Path, help="Where to write the lines that cannot be imported.")
        parser.add_argument("--preview", action="store_true", help="Show what would happen; write nothing.")
        parser.add_argument("--lines", type=int, default=20, help="How many lines --preview shows.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            request = self._request(options)
            if options["preview"]:
                self._show(imports.preview(request, lines=max(options["lines"], 1)))
                return
            with _bar(_console(self.stderr)) as on_progress:
                report = imports.run(request, on_progress=on_progress)
        except imports.ImportProblem as problem:
            raise CommandError(str(problem)) from problem
        except leases.Cancelled:
            raise CommandError(
                "The import was cancelled; what it stored stays. Run it again to go on."
            ) from None
        except KeyboardInterrupt:
            raise CommandError(
                "Interrupted; what was stored stays. Run the same command again to go on."
            ) from None
        for label, count in report.counts():
            self.stdout.write(f"{count:>12,}  {label}")
        self.stdout.write(report.sentence())

    def _request(self, options: dict[str, Any]) -> imports.Request:
        return imports.Request(
            path=options["file"],
            kind=self.kind,
            preset=options["preset"],
            mapping=mappings.read_json(options["mapping"]) if options["mapping"] else None,
            currency=options.get("currency", ""),
            time_zone=options["time_zone"],
            source=options["source"],
            rejects=options["rejects"],
        )

    def _show(self, preview: imports.Preview) -> None:
        table = Table(*preview.headings)
        for row in preview.rows:
            table.add_row(*row)
        console = _console(self.stdout)
        console.print(table)
        self.stdout.write(preview.sentence)


def _console(stream: OutputWrapper) -> Console:
    file = cast(IO[str], stream._out)
    return Console(file=file, markup=False, width=None if file.isatty() else _WIDE)


@contextmanager
def _bar(console: Console) -> Iterator[imports.OnProgress | None]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda share, doing: progress.update(task, completed=share, description=doing)
