"""Lines that could not be imported, in a CSV file that a spreadsheet opens safely."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import polars as pl
from defusedcsv import csv
from django.utils.translation import gettext as _

from segmentation.imports.problems import ImportProblem, Reject
from segmentation.imports.tables import LINE

SHOWN = 300
FIRST_REASONS = 3


class RejectsFile:
    """Made when there is a first reject; readable by its owner only, for lines may hold contact data."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.reasons: list[str] = []
        self._file: IO[str] | None = None
        self._writer: Any = None

    def add(self, rejects: Iterable[Reject]) -> None:
        for reject in rejects:
            if self._file is None:
                self._open()
            self._writer.writerow([reject.line, reject.reason, reject.content])
            self.count += 1
            if len(self.reasons) < FIRST_REASONS and reject.reason not in self.reasons:
                self.reasons.append(reject.reason)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise ImportProblem(
                _("The rejects file %(file)s cannot be written: %(why)s. Name another with --rejects.")
                % {"file": self.path, "why": error.strerror or error}
            ) from error
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(["line", "reason", "content"])


def of_frame(rejected: pl.DataFrame, raw: pl.DataFrame) -> list[Reject]:
    """Rejects from LINE and reason, with the cells of the line as they were read."""
    cells = [pl.col(name).cast(pl.String, strict=False).fill_null("") for name in raw.columns if name != LINE]
    lines = raw.join(rejected.select(LINE), on=LINE, how="semi").select(
        LINE, pl.concat_str(cells, separator=",").str.slice(0, SHOWN).alias("content")
    )
    joined = rejected.join(lines, on=LINE, how="left")
    return [Reject(*row) for row in joined.select(LINE, "reason", "content").iter_rows()]
