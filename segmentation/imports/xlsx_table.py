"""The first sheet of an Excel workbook, read row by row."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
from django.utils.translation import gettext as _

from segmentation.imports.problems import ImportProblem
from segmentation.imports.tables import LINE, Chunk, check_columns


class XlsxTable:
    """Headings are in the first row; line numbers are row numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        first, rows = self._head()
        self.estimated_rows = max((rows or 2) - 1, 1)
        names = [str(cell).strip() if cell is not None else "" for cell in first]
        while names and not names[-1]:
            names.pop()
        self.columns = tuple(names)
        check_columns(path, self.columns)

    def chunks(self, rows: int) -> Iterator[Chunk]:
        book = self._open()
        try:
            lines = book.worksheets[0].iter_rows(min_row=2, max_col=len(self.columns), values_only=True)
            number = 2
            while batch := list(islice(lines, rows)):
                done = min((number - 2 + len(batch)) / self.estimated_rows, 1.0)
                yield Chunk(self._frame(batch, number), done=done)
                number += len(batch)
        finally:
            book.close()

    def _frame(self, batch: Sequence[Sequence[Any]], first: int) -> pl.DataFrame:
        kept = [
            (first + offset, row) for offset, row in enumerate(batch) if any(cell is not None for cell in row)
        ]
        data: dict[str, pl.Series] = {
            LINE: pl.Series(LINE, [number for number, _row in kept], dtype=pl.Int64)
        }
        for index, name in enumerate(self.columns):
            if name:
                data[name] = _series(
                    name, [row[index] if index < len(row) else None for _number, row in kept]
                )
        return pl.DataFrame(data)

    def _head(self) -> tuple[Sequence[Any], int | None]:
        """The first row, and how many rows the sheet says it has. Raises ImportProblem."""
        try:
            book = self._open()
            try:
                sheet = book.worksheets[0]
                return next(sheet.iter_rows(max_row=1, values_only=True), ()), sheet.max_row
            finally:
                book.close()
        except Exception as error:  # whatever the library trips over in a file that is not as it should be
            raise ImportProblem(
                _("%(file)s is a damaged XLSX file; export it again.") % {"file": self.path.name}
            ) from error

    def _open(self) -> Any:
        return openpyxl.load_workbook(self.path, read_only=True, data_only=True)


def _series(name: str, cells: list[Any]) -> pl.Series:
    """Times as times and numbers as numbers where the whole column is of one sort; else as text."""
    present = [cell for cell in cells if cell is not None]
    if present and all(isinstance(cell, dt.datetime) for cell in present):
        return pl.Series(name, cells, dtype=pl.Datetime("us"))
    if present and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in present):
        return pl.Series(name, [None if cell is None else float(cell) for cell in cells], dtype=pl.Float64)
    return pl.Series(name, [None if cell is None else _text(cell) for cell in cells], dtype=pl.String)


def _text(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)
