"""Parquet files, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from django.utils.translation import gettext as _

from segmentation.imports.problems import ImportProblem, Reject
from segmentation.imports.tables import LINE, Chunk, check_columns

READ_AT_ONCE = 1 << 20  # bytes of a column


class ParquetTable:
    """Line numbers count rows from 1."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Read whole, the compressed columns of every batch would stay in memory until the last one.
            self._file = pq.ParquetFile(path, buffer_size=READ_AT_ONCE, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error
        self.columns = tuple(self._file.schema_arrow.names)
        check_columns(path, self.columns)
        self.estimated_rows = self._file.metadata.num_rows
        self._wanted: list[str] | None = None

    def read_only(self, columns: set[str]) -> None:
        """Leave the other columns unread. Raises ImportProblem when one of these holds no plain values."""
        for name in columns:
            kind = self._file.schema_arrow.field(name).type
            if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                raise ImportProblem(
                    _(
                        "The column %(column)s of %(file)s holds values of type %(kind)s; "
                        "only text, numbers, dates and yes/no can be read."
                    )
                    % {"column": name, "file": self.path.name, "kind": kind}
                )
        self._wanted = [name for name in self.columns if name in columns]

    def chunks(self, rows: int) -> Iterator[Chunk]:
        done = 0
        try:
            for batch in self._file.iter_batches(batch_size=rows, columns=self._wanted):
                table = pa.Table.from_batches([batch]).append_column(
                    LINE, pa.array(range(done + 1, done + len(batch) + 1), pa.int64())
                )
                table, rejects = _without_broken_text(table)
                done += len(batch)
                share = min(done / max(self.estimated_rows, 1), 1.0)
                yield Chunk(pl.DataFrame(pl.from_arrow(table)), rejects, share)
        except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
            raise _damaged(self.path, error) from error


def _without_broken_text(table: pa.Table) -> tuple[pa.Table, tuple[Reject, ...]]:
    """Rows whose text is UTF-8. What follows trusts that all of it is, so every batch is checked."""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        broken = sorted({row for column in table.columns for row in _broken_rows(column)})
        reason = _("The line contains bytes that are not text; save the file as UTF-8.")
        rejects = tuple(
            Reject(line, reason) for line in table[LINE].take(pa.array(broken, pa.int64())).to_pylist()
        )
        whole = set(range(len(table))).difference(broken)
        table = table.take(pa.array(sorted(whole), pa.int64()))
        table.validate(full=True)
        return table, rejects
    return table, ()


def _broken_rows(column: pa.ChunkedArray) -> Iterator[int]:
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return
    for row, value in enumerate(column.cast(pa.large_binary()).to_pylist()):
        try:
            (value or b"").decode()
        except UnicodeDecodeError:
            yield row


def _damaged(path: Path, error: Exception) -> ImportProblem:
    return ImportProblem(
        _("%(file)s is a damaged Parquet file (%(why)s); export it again.")
        % {"file": path.name, "why": str(error).splitlines()[0][:200]}
    )
